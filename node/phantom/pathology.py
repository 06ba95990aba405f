"""Pathology of a phantom's spine: fractures, degeneration, cement, lesions, cages.

The dimensions are typical and rounded, without a source; they serve to test detection.
"""

from __future__ import annotations

from dataclasses import dataclass

from node.model import FractureKind, Level, Vector


@dataclass(frozen=True, slots=True)
class Fracture:
    """A fractured body; ``height_loss`` is the lost fraction of the height that this kind reduces."""

    level: Level
    kind: FractureKind
    height_loss: float


@dataclass(frozen=True, slots=True)
class Lesion:
    """A ball inside a body: a dense island, a sclerotic or a lytic lesion.

    Attributes:
        hu: its attenuation.
        offset_mm: its centre from that of the body; x to the left, y to the back, z to the head.
    """

    level: Level
    radius_mm: float
    hu: float
    offset_mm: Vector = (0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Cement:
    """Bone cement after vertebroplasty: two overlapping clouds."""

    level: Level
    radius_mm: float = 9.0
    hu: float = 1800.0


@dataclass(frozen=True, slots=True)
class Degeneration:
    """A degenerated disc below a vertebra, with the changes of the two bodies next to it.

    Attributes:
        level: the vertebra above the disc.
        disc_fraction: remaining fraction of the disc height.
        sclerosis_mm, sclerosis_hu: depth and attenuation of the sclerosis beneath both end plates; 0 mm for none.
        osteophyte_mm: length of anterior and lateral osteophytes; 0 for none.
    """

    level: Level
    disc_fraction: float = 0.25
    sclerosis_mm: float = 7.0
    sclerosis_hu: float = 550.0
    osteophyte_mm: float = 10.0


@dataclass(frozen=True, slots=True)
class Pathology:
    """The pathology of one patient; none by default.

    Attributes:
        cages: vertebrae with a titanium cage in the disc space below.
    """

    fractures: tuple[Fracture, ...] = ()
    lesions: tuple[Lesion, ...] = ()
    cement: tuple[Cement, ...] = ()
    degeneration: tuple[Degeneration, ...] = ()
    cages: tuple[Level, ...] = ()

    def fracture_of(self, level: Level | None) -> Fracture | None:
        """The fracture of a level, if it has one."""
        return next((fracture for fracture in self.fractures if fracture.level is level), None)

    def disc_fraction_below(self, level: Level | None) -> float:
        """Remaining fraction of the disc height below a level."""
        return next((one.disc_fraction for one in self.degeneration if one.level is level), 1.0)


NO_PATHOLOGY = Pathology()
