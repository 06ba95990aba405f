"""Read the plan of an evaluation from its TOML file."""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from node.cohort.plan import Plan
from node.common.errors import ConfigurationError


def load_plan(path: Path) -> Plan:
    """Read a plan.

    Raises:
        ConfigurationError: the file cannot be read, or a part of it is wrong; the message says which.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} is no TOML file: {error}") from error
    try:
        return Plan.model_validate(values)
    except ValidationError as error:
        lines = "\n  ".join(_in_words(one) for one in error.errors())
        raise ConfigurationError(
            f"{path}:\n  {lines}\n`bmd-node evaluate --example` prints a plan with every section"
        ) from error


def _in_words(error: ErrorDetails) -> str:
    place = ".".join(str(part + 1) if isinstance(part, int) else part for part in error["loc"])
    said = error["msg"].removeprefix("Value error, ").replace("Input should", "must")
    if error["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(error["loc"][-1]), _names(), n=1)
        return f"{place} is not a setting of a plan" + (f": did you mean {near[0]}?" if near else "")
    if error["type"] == "missing":
        return f"{place} is missing"
    return f"{place}: {said}" if place else said


def _names() -> list[str]:
    found = list(Plan.model_fields)
    for schema in Plan.model_json_schema()["$defs"].values():
        found += schema["properties"]
    return found
