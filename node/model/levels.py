"""Vertebral levels, numbered as in VerSe."""

from __future__ import annotations

from enum import IntEnum


class Level(IntEnum):
    """Vertebral level; the value is its label in a label map (the numbering of VerSe)."""

    T12 = 19
    L1 = 20
    L2 = 21
    L3 = 22
    L4 = 23
    L5 = 24
    L6 = 25


#: The levels whose mean decides the ACR category (ACR practice parameter for QCT; `L1 to L4` in the study).
MEASURED_LEVELS = (Level.L1, Level.L2, Level.L3, Level.L4)
