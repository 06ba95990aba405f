"""Phrases: English as it is, other languages from the catalogues, kept with their values."""

import ast
import pickle
import string
from pathlib import Path

import pytest
from babel.messages.catalog import Message
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po
from pydantic import TypeAdapter

from node.language.catalogue import Language, say
from node.language.phrase import Phrase, as_phrase, joined, phrase, places

NODE = Path(__file__).resolve().parents[2] / "node"
OTHERS = [language for language in Language if language is not Language.EN]
#: Catalogue of sentences that only records of earlier versions still hold.
RETIRED = "retired.po"


def test_a_phrase_is_its_english():
    found = phrase("{mm3:.0f} mm3 above {hu:g} HU", mm3=12.4, hu=1400.0)
    assert found == "12 mm3 above 1400 HU"
    assert say(found, Language.EN) == found
    assert (found.template, dict(found.values)) == ("{mm3:.0f} mm3 above {hu:g} HU", {"mm3": 12.4, "hu": 1400.0})


def test_what_is_inside_is_translated_names_are_not_and_numbers_get_a_comma():
    inner = phrase("Not measured")
    whole = phrase("{what}: {value:.1f} mg/cm3, {name}", what=inner, value=3.25, name="Not measured")
    assert say(whole, Language.DE) == "Nicht gemessen: 3,2 mg/cm3, Not measured"
    assert say(joined([inner, phrase("{n:g}", n=0.5)], "; "), Language.DE) == "Nicht gemessen; 0,5"


def test_what_no_catalogue_has_is_said_in_english():
    assert say("no such sentence {with braces}", Language.DE) == "no such sentence {with braces}"


def test_phrases_survive_pickle_and_json():
    kept = TypeAdapter(Phrase)
    whole = phrase("{what}: {value} {name}", what=phrase("Not measured"), value=1.5, name="a {name}")
    for again in (pickle.loads(pickle.dumps(whole)), kept.validate_json(kept.dump_json(whole))):  # noqa: S301 - our own
        assert (again, again.template, dict(again.values)) == (whole, whole.template, dict(whole.values))
        assert say(again, Language.DE) == "Nicht gemessen: 1,5 a {name}"


def test_mere_text_of_old_records_is_read():
    kept = TypeAdapter(Phrase)
    for text in ("Not measured", "12 mm3 {odd}"):
        assert kept.validate_json(kept.dump_json(as_phrase(text))) == text
        assert kept.validate_python(text) == text
    assert say(kept.validate_python("Not measured"), Language.DE) == "Nicht gemessen"


@pytest.mark.parametrize("stored", ["3", '{"template": "{a}", "values": {}}', '{"template": 1, "values": {}}', "{}"])
def test_what_is_no_phrase_is_refused(stored):
    with pytest.raises(ValueError, match="phrase"):
        TypeAdapter(Phrase).validate_json(stored)


@pytest.fixture(scope="module")
def templates() -> dict[str, str]:
    """Every template of the code, with the place where it stands first."""
    sources = [("**.py", "python"), ("**.html", "jinja2")]
    found: dict[str, str] = {}
    for name, line, message, _, _ in extract_from_dir(NODE, sources, keywords={"phrase": None}):
        found.setdefault(message, f"{name}:{line}")
    assert found
    return found


def test_every_phrase_is_a_literal_that_the_catalogues_can_list():
    """What is put together at run time would be found in no catalogue, and no test would miss it."""
    faults = []
    for path in sorted(NODE.rglob("*.py")):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "phrase":
                literal = call.args and isinstance(call.args[0], ast.Constant) and isinstance(call.args[0].value, str)
                if not literal:
                    faults.append(f"{path.relative_to(NODE)}:{call.lineno}")
    assert not faults, "\n".join(faults)


def _messages(path: Path, language: Language) -> dict[str, Message]:
    with path.open("rb") as file:
        return {message.id: message for message in read_po(file, locale=language.value, abort_invalid=True) if message.id}


def _catalogue(language: Language) -> dict[str, Message]:
    """Every entry of the catalogues in use; no entry is in two of them."""
    found: dict[str, Message] = {}
    for path in sorted((NODE / "language" / "locale" / language).glob("*.po")):
        if path.name != RETIRED:
            messages = _messages(path, language)
            assert not found.keys() & messages.keys(), path.name
            found |= messages
    assert found
    return found


def _formats(template: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for _, name, spec, _ in string.Formatter().parse(template):
        if name is not None:
            found.setdefault(name, set()).add(spec)
    return found


@pytest.mark.parametrize("language", OTHERS)
def test_every_template_is_translated_with_the_same_places(templates, language):
    messages = _catalogue(language)
    faults = []
    for template, where in templates.items():
        message = messages.get(template)
        if message is None or not message.string or message.fuzzy:
            faults.append(f"{where}: no translation: {template}")
        elif _formats(message.string) != _formats(template):
            faults.append(f"{where}: other places or formats: {template} | {message.string}")
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("language", OTHERS)
def test_no_translation_is_left_of_what_is_no_longer_said(templates, language):
    assert _catalogue(language).keys() - templates.keys() == set()


@pytest.mark.parametrize("language", OTHERS)
def test_retired_sentences_are_translated_and_no_longer_in_use(templates, language):
    retired = _messages(NODE / "language" / "locale" / language / RETIRED, language)
    assert retired
    assert retired.keys() & (templates.keys() | _catalogue(language).keys()) == set()
    for template, message in retired.items():
        assert message.string, template
        assert not message.fuzzy, template
        assert _formats(message.string) == _formats(template), template


def test_places():
    assert places("{b} and {a:.1f} of {b}") == ("a", "b")
