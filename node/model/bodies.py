"""Segmented and labelled vertebral bodies."""

from __future__ import annotations

from dataclasses import dataclass

from node.language.phrase import Phrase
from node.model.arrays import LabelArray, Vector
from node.model.levels import Level
from node.model.reasons import Reason


@dataclass(frozen=True, slots=True)
class VertebralBody:
    """A named vertebral body.

    Attributes:
        level: its vertebral level; ``int(level)`` is its label.
        centroid_lps_mm: centre of mass of the body mask.
        confidence: 0 to 1, of the level.
        evidence: basis of the level, e.g. "counted from sacrum, last rib agrees".
    """

    level: Level
    centroid_lps_mm: Vector
    confidence: float
    evidence: Phrase


@dataclass(frozen=True, slots=True, eq=False)
class Segmentation:
    """Labelled vertebral bodies on the grid of a volume.

    Attributes:
        labels: uint8, (slices, rows, columns), value of :class:`Level` inside a vertebral body (no posterior elements, no
            discs), 0 elsewhere.
        bodies: the labelled bodies, cranial to caudal. Empty if levels cannot be determined.
        reasons: why levels are missing or uncertain (``no_lumbar_spine``, ``level_not_certain``, ...).
    """

    labels: LabelArray
    bodies: tuple[VertebralBody, ...]
    reasons: tuple[Reason, ...]
