"""A sentence that keeps its template and values, so that it can be translated.

A :class:`Phrase` is a ``str`` with the English text. It also has the English template, which the catalogues of
:mod:`node.language.catalogue` translate, and the values of its places.
"""

from __future__ import annotations

import string
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Self

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

#: A value in a template: text that is not translated, a number, or a phrase, which is translated.
Value = str | int | float


class Phrase(str):
    """English text with its template and values; created by :func:`phrase`.

    Attributes:
        template: English, with places as in ``str.format``: ``{volume_mm3:.0f} mm3 of cement``.
        values: by name of the place. Phrases are also translated; other text (a name, a code, a citation) stays unchanged,
            and numbers get the decimal sign of the language.
    """

    __slots__ = ("template", "values")

    template: str
    values: Mapping[str, Value]

    def __new__(cls, template: str, values: Mapping[str, Value] | None = None) -> Self:
        """Fill in the template.

        Raises:
            KeyError: a place of the template has no value.
        """
        held = {name: _held(value) for name, value in (values or {}).items()}
        filled = super().__new__(cls, template.format_map(held))
        filled.template = template
        filled.values = MappingProxyType(held)
        return filled

    def __reduce__(self) -> tuple[type[Phrase], tuple[str, Mapping[str, Value]]]:
        """Pickle with template and values."""
        return type(self), (self.template, dict(self.values))

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: object, _handler: GetCoreSchemaHandler) -> CoreSchema:
        """As JSON: template and values, or plain text if it has no values; records of older versions have plain text."""
        return core_schema.no_info_plain_validator_function(
            _read, serialization=core_schema.plain_serializer_function_ser_schema(_written)
        )


def phrase(template: str, /, **values: Value) -> Phrase:
    """Create a translatable sentence.

    The template must be a literal: a test looks up all calls of this function in the catalogues.
    """
    return Phrase(template, values)


def as_phrase(text: str) -> Phrase:
    """A phrase from plain text; a phrase is returned unchanged."""
    return text if isinstance(text, Phrase) else Phrase(text.replace("{", "{{").replace("}", "}}"))


def joined(parts: Iterable[str], between: str) -> Phrase:
    """Join phrases (or other texts) to one phrase."""
    values = {f"part_{n}": part for n, part in enumerate(parts)}
    return Phrase(between.join(f"{{{name}}}" for name in values), values)


def places(template: str) -> tuple[str, ...]:
    """Sorted names of the places of a template.

    Raises:
        ValueError: it is not a template of ``str.format``.
    """
    return tuple(sorted({name for _, name, _, _ in string.Formatter().parse(template) if name is not None}))


def _held(value: Value) -> Value:
    """Phrases, and plain types instead of enumerations and numpy numbers."""
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
    raise ValueError("a phrase must be a text, or a template with its values")


def _read_value(stored: object) -> Value:
    if isinstance(stored, int | float):
        return stored
    # plain text stays plain: a name must not be translated
    return stored if isinstance(stored, str) else _read(stored)
