"""Reasons for exclusions, refusals and doubts."""

from __future__ import annotations

from dataclasses import dataclass

from node.language.phrase import Phrase


@dataclass(frozen=True, slots=True)
class Reason:
    """Why something was refused, excluded or doubted: a stable code and a sentence for people."""

    code: str
    detail: Phrase
