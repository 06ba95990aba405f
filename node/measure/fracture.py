"""Vertebral fractures by height loss, graded after Genant.

Genant et al., J Bone Miner Res 1993;8:1137-1148: grade 1 is a loss of about 20 to 25 % of the anterior, middle or posterior
height, grade 2 of 25 to 40 %, grade 3 of more; wedge, biconcave and crush say which height is lost. As in McCloskey et al.
(Osteoporos Int 1993;3:138-147), the loss is measured twice: against the neighbours of the same patient, and within the
vertebra. A wedge or biconcave shape must show in both, so that neither a small nor a naturally wedged vertebra counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from node.language.phrase import Phrase, phrase
from node.measure.heights import BodyShape
from node.model import FractureKind, Level

#: Grades by the lost fraction of the height (Genant).
_GRADES = ((0.40, 3), (0.25, 2), (0.20, 1))
#: The vertebra's own shape must show at least this share of the loss against its neighbours.
_OWN_SHARE = 0.5
#: Mean of anterior and posterior height relative to L3 (after Panjabi et al., Spine 1992;17(3):299-306, rounded).
_RELATIVE_HEIGHT: Mapping[Level, float] = {
    Level.T12: 0.91,
    Level.L1: 0.97,
    Level.L2: 0.99,
    Level.L3: 1.0,
    Level.L4: 1.0,
    Level.L5: 0.98,
    Level.L6: 0.97,
}
#: Normal angle between the end plates in degrees, positive where the front is lower (Eur Spine J 2010;19:768-773, table 1,
#: mean of women and men).
_WEDGE_DEG: Mapping[Level, float] = {
    Level.T12: 4.2,
    Level.L1: 3.4,
    Level.L2: 1.7,
    Level.L3: 0.1,
    Level.L4: -1.9,
    Level.L5: -6.2,
    Level.L6: -6.2,
}
#: Normal middle height relative to the mean of the other two: end plates are hollow by a millimetre or so. Some patients'
#: are hollow by more at every level; down to the second, the patient's own ratio is the normal one (assumptions).
_MIDDLE, _MOST_HOLLOW = 0.95, 0.82
#: Distance from the anterior to the posterior height, as a fraction of the depth.
_SPAN = 0.88
#: The size of a patient needs at least this many other bodies.
_LEAST_OTHERS = 2
#: With thicker slices than this, the end plates are too coarse to detect grade 1.
_THICK_MM = 3.5

_KIND_WORDS = {
    FractureKind.WEDGE: phrase("wedge fracture"),
    FractureKind.BICONCAVE: phrase("biconcave fracture"),
    FractureKind.CRUSH: phrase("crush fracture"),
}


@dataclass(frozen=True, slots=True)
class HeightLoss:
    """A fractured vertebral body.

    Attributes:
        loss: fraction of the height lost.
        grade: 1 to 3 after Genant.
        against: what the heights were compared with, in words.
    """

    kind: FractureKind
    loss: float
    grade: int
    against: Phrase

    @property
    def said(self) -> Phrase:
        """The finding in words."""
        return phrase(
            "{kind}, grade {grade}: {loss:.0f} % height loss {against}",
            kind=_KIND_WORDS[self.kind],
            grade=self.grade,
            loss=100 * self.loss,
            against=self.against,
        )


@dataclass(frozen=True, slots=True)
class _Losses:
    anterior: float
    middle: float
    posterior: float


def height_losses(shapes: Sequence[BodyShape]) -> dict[Level, HeightLoss]:
    """The bodies of one patient that have lost height.

    Args:
        shapes: bodies that are complete in the image.
    """
    found = {}
    for shape in shapes:
        loss = _height_loss(shape, [other for other in shapes if other.level is not shape.level])
        if loss is not None:
            found[shape.level] = loss
    return found


def in_doubt(loss: HeightLoss, thickness_mm: float) -> bool:
    """Whether a loss is of grade 1 and the slices are too thick to detect that.

    Args:
        loss: of one body.
        thickness_mm: thickness that was scanned along the spine: the resolution of the end plates, whatever the grid.
    """
    return thickness_mm > _THICK_MM and loss.loss < _GRADES[1][0]


def _height_loss(shape: BodyShape, others: Sequence[BodyShape]) -> HeightLoss | None:
    hollow = _usual_hollow(others)
    own = _losses(shape, _own_height(shape), hollow)
    usual = _usual_height(shape.level, others)
    if usual is None:
        kind, loss = max(
            ((FractureKind.WEDGE, own.anterior), (FractureKind.BICONCAVE, own.middle)), key=lambda pair: pair[1]
        )
        return _graded(kind, loss, phrase("within the vertebra; no neighbours to compare with"))
    beside = _losses(shape, usual, hollow)
    against = phrase("compared with its neighbours")
    crush = min(beside.posterior, beside.middle)
    candidates = [(FractureKind.CRUSH, crush)]
    if own.anterior >= _OWN_SHARE * beside.anterior:
        candidates.append((FractureKind.WEDGE, beside.anterior))
    if own.middle >= _OWN_SHARE * beside.middle:
        candidates.append((FractureKind.BICONCAVE, beside.middle))
    # a body that lost height everywhere is crushed, even if it is slightly wedged or biconcave too
    if crush >= _GRADES[-1][0]:
        return _graded(FractureKind.CRUSH, max(beside.posterior, beside.anterior, beside.middle), against)
    kind, loss = max(candidates, key=lambda pair: pair[1])
    return _graded(kind, loss, against)


def _graded(kind: FractureKind, loss: float, against: Phrase) -> HeightLoss | None:
    grade = next((grade for least, grade in _GRADES if loss >= least), 0)
    return HeightLoss(kind, loss, grade, against) if grade else None


def _losses(shape: BodyShape, height_mm: float, hollow: float) -> _Losses:
    """Lost fractions of the three heights, if the mean of the outer two was ``height_mm``."""
    slope = _SPAN / 2 * shape.depth_mm * float(np.tan(np.deg2rad(_WEDGE_DEG[shape.level])))
    return _Losses(
        1 - shape.anterior_mm / (height_mm - slope),
        1 - shape.middle_mm / (height_mm * hollow),
        1 - shape.posterior_mm / (height_mm + slope),
    )


def _usual_hollow(others: Sequence[BodyShape]) -> float:
    """The middle height relative to the mean of the other two in the less hollow half of the patient's other bodies."""
    ratios = sorted(other.middle_mm / ((other.anterior_mm + other.posterior_mm) / 2) for other in others)
    if len(ratios) < _LEAST_OTHERS:
        return _MIDDLE
    return float(np.clip(np.median(ratios[len(ratios) // 2 :]), _MOST_HOLLOW, _MIDDLE))


def _own_height(shape: BodyShape) -> float:
    """The original height according to the posterior wall, which wedge and biconcave fractures spare."""
    slope = _SPAN / 2 * shape.depth_mm * float(np.tan(np.deg2rad(_WEDGE_DEG[shape.level])))
    return shape.posterior_mm - slope


def _usual_height(level: Level, others: Sequence[BodyShape]) -> float | None:
    """The height expected from the patient's other bodies: the median of their taller half, which is not fractured."""
    sizes = sorted(
        max((other.anterior_mm + other.posterior_mm) / 2, _own_height(other)) / _RELATIVE_HEIGHT[other.level]
        for other in others
    )
    if len(sizes) < _LEAST_OTHERS:
        return None
    return float(np.median(sizes[len(sizes) // 2 :])) * _RELATIVE_HEIGHT[level]
