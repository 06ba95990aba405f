"""A TOML file as a typed value, or an error that names the place of what is wrong."""

from __future__ import annotations

import tomllib
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from node.common.errors import ConfigurationError

Model = TypeVar("Model", bound=BaseModel)


def validated(model: type[Model], text: str, name: str) -> Model:
    """Read a TOML text; ``name`` is what an error calls it.

    Raises:
        ConfigurationError: it is no TOML, or its first value that does not fit the model, with its place.
    """
    try:
        return model.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{name} is no valid TOML: {error}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        # entries count from 1 for a person
        place = ".".join(str(part + 1) if isinstance(part, int) else part for part in first["loc"])
        raise ConfigurationError(f"{name} is wrong at {place}: {first['msg']}") from error
