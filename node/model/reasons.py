"""Why something was not done, left out or doubted."""

from __future__ import annotations

from dataclasses import dataclass

from node.language.phrase import Phrase


@dataclass(frozen=True, slots=True)
class Reason:
    """Why something was not done, left out or doubted: a stable code and a sentence for a person."""

    code: str
    detail: Phrase
