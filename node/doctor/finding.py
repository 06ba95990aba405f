"""What a check of ``bmd-node doctor`` says."""

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
        check: what was looked at, in a word or two.
        outcome: an error keeps the node from doing its work, a warning may do so later.
        detail: what was found; the words of an error of the node say what to do as well.
        what_to_do: for the administrator; may be empty with ``ok``, or where ``detail`` says it.
    """

    check: str
    outcome: Outcome
    detail: str
    what_to_do: str = ""

    def __str__(self) -> str:
        line = f"{self.outcome:8} {self.check}: {self.detail}"
        return f"{line}; {self.what_to_do}" if self.what_to_do else line
