"""Reads TOML as a typed value, or raises an error with the location of the mistake."""

from __future__ import annotations

import tomllib
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from node.common.errors import ConfigurationError

Model = TypeVar("Model", bound=BaseModel)


def validated(model: type[Model], text: str, name: str) -> Model:
    """Read a TOML text; ``name`` identifies it in errors.

    Raises:
        ConfigurationError: it is not valid TOML, or a value does not fit the model; with the location of the first one.
    """
    try:
        return model.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{name} is not valid TOML: {error}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        # entries count from 1 for people
        place = ".".join(str(part + 1) if isinstance(part, int) else part for part in first["loc"])
        raise ConfigurationError(f"{name} is wrong at {place}: {first['msg']}") from error
