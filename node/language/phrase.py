"""A sentence for people that knows the words and the values it was made of, so that it can be said in another language.

A :class:`Phrase` is a ``str``: its English. Whoever needs no other language takes it for one. What it was made of stays with
it: an English template, which is what the catalogues of :mod:`node.language.catalogue` translate, and the values of its
places.
"""

from __future__ import annotations

import string
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Self

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

#: What stands in a place of a template: words that are not translated, a number, or a phrase, which is.
Value = str | int | float


class Phrase(str):
    """English text with its template and its values; made by :func:`phrase`.

    Attributes:
        template: English, with places as ``str.format`` has them: ``{volume_mm3:.0f} mm3 of cement``.
        values: by the name of the place. A phrase among them is translated with the rest; any other text (a name, a code,
            a citation) stays as it is, and a number gets the decimal sign of the language.
    """

    __slots__ = ("template", "values")

    template: str
    values: Mapping[str, Value]

    def __new__(cls, template: str, values: Mapping[str, Value] | None = None) -> Self:
        """Fill the template in.

        Raises:
            KeyError: a place of the template has no value.
        """
        held = {name: _held(value) for name, value in (values or {}).items()}
        filled = super().__new__(cls, template.format_map(held))
        filled.template = template
        filled.values = MappingProxyType(held)
        return filled

    def __reduce__(self) -> tuple[type[Phrase], tuple[str, Mapping[str, Value]]]:
        """Pickled with what it was made of."""
        return type(self), (self.template, dict(self.values))

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: object, _handler: GetCoreSchemaHandler) -> CoreSchema:
        """As JSON: template and values, or the mere text where that is all; records of older versions hold mere text."""
        return core_schema.no_info_plain_validator_function(
            _read, serialization=core_schema.plain_serializer_function_ser_schema(_written)
        )


def phrase(template: str, /, **values: Value) -> Phrase:
    """Say something in English that other languages can say, too.

    The template must be a literal: a test finds those of the code in the catalogues, by the name of this function.
    """
    return Phrase(template, values)


def as_phrase(text: str) -> Phrase:
    """A phrase of text that was not made as one; a text that is one stays what it is."""
    return text if isinstance(text, Phrase) else Phrase(text.replace("{", "{{").replace("}", "}}"))


def joined(parts: Iterable[str], between: str) -> Phrase:
    """Phrases (or other texts) one after the other, as one."""
    values = {f"part_{n}": part for n, part in enumerate(parts)}
    return Phrase(between.join(f"{{{name}}}" for name in values), values)


def places(template: str) -> tuple[str, ...]:
    """Names of the places of a template, sorted.

    Raises:
        ValueError: it is no template of ``str.format``.
    """
    return tuple(sorted({name for _, name, _, _ in string.Formatter().parse(template) if name is not None}))


def _held(value: Value) -> Value:
    """Phrases, and plain types in place of enumerations and of numpy's numbers."""
    if isinstance(value, str):
        return value if isinstance(value, Phrase) else str(value)
    return int(value) if hasattr(value, "__index__") else float(value)


def _written(text: str) -> object:
    constant = not isinstance(text, Phrase) or (not text.values and text.template == text)
    return str(text) if constant else _written_value(text)


def _written_value(value: Value) -> object:
    if not isinstance(value, Phrase):
        return value
    return {"template": value.template, "values": {name: _written_value(inner) for name, inner in value.values.items()}}


def _read(stored: object) -> Phrase:
    if isinstance(stored, str):
        return as_phrase(stored)
    if isinstance(stored, dict) and isinstance(stored.get("template"), str) and isinstance(stored.get("values"), dict):
        values = {str(name): _read_value(value) for name, value in stored["values"].items()}
        try:
            return Phrase(stored["template"], values)
        except (KeyError, IndexError) as error:
            raise ValueError(f"a phrase lacks the value {error}") from error
    raise ValueError("a phrase is a text, or a template with its values")


def _read_value(stored: object) -> Value:
    if isinstance(stored, int | float):
        return stored
    # mere text stays what it was: a name must not be taken for something to translate
    return stored if isinstance(stored, str) else _read(stored)
