"""Languages of displayed text: catalogues of templates, and the notation of numbers.

English is the source. Each other language is a folder of gettext catalogues in ``node/language/locale``, in UTF-8. Missing
translations appear in English. ``retired.po`` translates old sentences that records of earlier versions still contain.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from enum import StrEnum
from importlib.resources import files

from babel.messages.pofile import read_po

from node.language.phrase import Phrase, Value, as_phrase


class Language(StrEnum):
    """A language, by its tag (RFC 5646)."""

    EN = "en"
    DE = "de"


#: Decimal sign, if it is not the point.
_DECIMAL_SIGN = {Language.DE: ","}


def say(text: str, language: Language) -> str:
    """Translate a phrase with all its values; other text is looked up unchanged.

    English if there is no translation.
    """
    if language is Language.EN:
        return str(text)
    said = as_phrase(text)
    template = _catalogue(language).get(said.template, said.template)
    return template.format_map({name: _value(value, language) for name, value in said.values.items()})


@functools.cache
def _catalogue(language: Language) -> Mapping[str, str]:
    """Translations by English template, without drafts (entries marked ``fuzzy``)."""
    found: dict[str, str] = {}
    for path in sorted((files("node.language") / "locale" / language.value).iterdir(), key=lambda path: path.name):
        with path.open("rb") as file:
            catalogue = read_po(file, locale=language.value, charset="utf-8")
        for message in catalogue:
            english, other = message.id, message.string
            if isinstance(english, str) and isinstance(other, str) and english and other and not message.fuzzy:
                found[english] = other
    return found


class _Number:
    """A number with the decimal sign of a language, in the format of its place."""

    def __init__(self, value: float, sign: str) -> None:
        self._value, self._sign = value, sign

    def __format__(self, spec: str) -> str:
        return format(self._value, spec).replace(".", self._sign)


def _value(value: Value, language: Language) -> object:
    if isinstance(value, Phrase):
        return say(value, language)
    if isinstance(value, str):
        return value
    return _Number(value, _DECIMAL_SIGN.get(language, "."))
