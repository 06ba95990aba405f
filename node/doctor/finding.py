"""The result of a check of ``bmd-node doctor``."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """Result of one check.

    Attributes:
        check: what was checked, in a word or two.
        outcome: an error prevents the node from working, a warning may do so later.
        detail: what was found; error messages of the node also say what to do.
        what_to_do: for the administrator; may be empty with ``ok``, or if ``detail`` says it.
    """

    check: str
    outcome: Outcome
    detail: str
    what_to_do: str = ""

    def __str__(self) -> str:
        line = f"{self.outcome:8} {self.check}: {self.detail}"
        return f"{line}; {self.what_to_do}" if self.what_to_do else line
