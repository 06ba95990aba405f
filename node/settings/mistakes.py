"""Describe mistakes in the settings: the line, the setting that was probably meant, and what to write."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from node.settings.renamed import RENAMED

_HEADER = re.compile(r"^\s*\[\[?\s*([A-Za-z0-9_.-]+)\s*\]\]?")
_UNKNOWN = "extra_forbidden"
#: Similarity from which a name counts as what was probably meant.
_ALIKE = 0.6


def in_words(errors: Sequence[ErrorDetails], model: type[BaseModel], text: str) -> tuple[str, ...]:
    """Return one line for each mistake.

    Args:
        errors: errors from pydantic.
        model: model of the whole tree of settings.
        text: text of the settings file; empty if all values come from the environment.
    """
    return tuple(dict.fromkeys(_line(error, model, text) for error in errors))


def _line(error: ErrorDetails, model: type[BaseModel], text: str) -> str:
    # pydantic adds the kind of an entry to the location; it is not in the file
    place = [part for part in error["loc"] if not (isinstance(part, str) and part.startswith("function-"))]
    name = ".".join(str(part + 1) if isinstance(part, int) else str(part) for part in place)
    number = _line_number(place, text)
    where = f"line {number}: " if number else ""
    if not name:
        return f"{where}{_without_prefix(error['msg'])}"
    if name in RENAMED:
        return f"{where}{name} is called {RENAMED[name]} now: {_without_prefix(error['msg'])}"
    if error["type"] == _UNKNOWN:
        return f"{where}{name} is not a setting{_nearest(place, model)}"
    section = model.model_fields.get(str(place[0]))
    if (
        len(place) == 1
        and section is not None
        and get_origin(section.annotation) is tuple
        and isinstance(error["input"], dict)
    ):
        return f"{where}{name} is a list: write [[{name}]] with two brackets, once for each entry"
    if len(place) == 1 and isinstance(error["input"], list) and _model_of(section.annotation if section else None):
        return f"{where}{name} is a single section: write [{name}] with one bracket, once"
    if error["type"] == "missing":
        return f"{where}{name} is missing{_what(place, model)}"
    return f"{where}{name} = {error['input']!r}: {_without_prefix(error['msg'])}{_what(place, model)}"


def _without_prefix(message: str) -> str:
    return message.removeprefix("Value error, ").replace("Input should", "must").replace("String should", "must")


def _nearest(place: Sequence[str | int], model: type[BaseModel]) -> str:
    """Return a hint at the setting that was probably meant."""
    parent = _model_at(place[:-1], model)
    if parent is None:
        return ""
    wrong = str(place[-1])
    sections = [name for name, field in model.model_fields.items() if wrong in _fields_of(field.annotation)]
    if sections:
        return f" here: it is one of [{sections[0]}]"
    near = difflib.get_close_matches(wrong, list(parent.model_fields), n=1, cutoff=_ALIKE)
    if near:
        return f": did you mean {near[0]}?"
    return ": `bmd-node settings` lists all settings"


def _what(place: Sequence[str | int], model: type[BaseModel]) -> str:
    """Return the description and the default of a setting."""
    parent = _model_at(place[:-1], model)
    field = parent.model_fields.get(str(place[-1])) if parent is not None else None
    if field is None:
        return ""
    described = " ".join((field.description or "").replace("``", "").split())
    usual = "" if field.is_required() or field.default is None else f"; default: {field.default!r}"
    return f" ({described.split('. ')[0].rstrip('.')}{usual})" if described else ""


def _model_at(place: Sequence[str | int], model: type[BaseModel]) -> type[BaseModel] | None:
    found: type[BaseModel] | None = model
    for part in place:
        if isinstance(part, int) or found is None:
            continue
        field = found.model_fields.get(part)
        if field is not None:
            found = _model_of(field.annotation)
    return found


def _model_of(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for kind in get_args(annotation) if (model := _model_of(kind)) is not None), None)


def _fields_of(annotation: Any) -> frozenset[str]:
    model = _model_of(annotation)
    return frozenset(() if model is None else model.model_fields)


def _line_number(place: Sequence[str | int], text: str) -> int | None:
    """Return the line number of the setting, from 1, or that of its section if the setting is not in the file."""
    names = [str(part) for part in place if isinstance(part, str)]
    entry = next((part for part in place if isinstance(part, int)), 0)
    if not names:
        return None
    section, found, n_seen = "", None, -1
    for number, line in enumerate(text.splitlines(), 1):
        header = _HEADER.match(line)
        if header:
            section = header[1]
            n_seen += section == names[0]
            if section == names[0] and n_seen == entry and found is None:
                found = number
            continue
        key = line.split("=", 1)[0].strip() if "=" in line else ""
        path = [*section.split("."), key] if section else [key]
        if key and path == names[: len(path)] and len(path) == len(names) and (section != names[0] or n_seen == entry):
            return number
    return found
