"""Plausibility check of the outlines: a body with an implausible shape is withheld."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError

from node.language.phrase import Phrase, phrase
from node.model import Level
from node.segment.masks import one_piece
from node.segment.reach import Named
from node.segment.refine import CROP_SPACING_MM, INSIDE, Refined

#: Dice of the two networks' masks below which they do not agree.
LEAST_AGREEMENT = 0.6
#: Volume in cm3, from a crushed body of a small woman to L5 of a tall man.
VOLUME_CM3 = (7.0, 110.0)
#: Width (left to right) in mm.
WIDTH_MM = (24.0, 80.0)
#: If at least so many bodies are narrower, but no narrower than this, the image is: the header of a sagittal study may state
#: half the distance between slices (../shared/data/ct/steep_ribs). Then this share of their median width is the lower limit.
LEAST_ALIKE, LEAST_WIDTH_MM, LEAST_OF_USUAL_WIDTH = 3, 14.0, 0.7
#: Volume as a share of the convex hull's. A body is waisted, wedged or biconcave, never branched; L1 of VerSe's case 004,
#: whose fracture left half of its height, has 0.56 to 0.62 if outlined well (Dice 0.88 to 0.93), and less if not.
LEAST_SOLIDITY = 0.55
#: Two bodies that overlap by more than this share of the smaller one cannot both be right.
MOST_OVERLAP = 0.1
#: Dice of a body with its mirror image, left to right, without tilt and rotation. A wedged body has more than this (L2 of
#: VerSe's sample001: 0.68 to 0.70), a body with a missing quarter less.
LEAST_SYMMETRY = 0.68


@dataclass(frozen=True, slots=True)
class Form:
    """The shape of one outlined body.

    Attributes:
        volume_cm3: volume.
        width_mm: from the patient's right to the left.
        solidity: volume as a share of the convex hull's, 0 to 1.
        symmetry: Dice with its mirror image about the sagittal plane through its middle, 0 to 1.
        agreement: Dice of the two networks' masks, 0 to 1.
    """

    volume_cm3: float
    width_mm: float
    solidity: float
    symmetry: float
    agreement: float

    @property
    def doubt(self) -> Phrase | None:
        """What is implausible about it; ``None`` if nothing is."""
        return self.doubt_within(WIDTH_MM)

    def doubt_within(self, width_mm: tuple[float, float]) -> Phrase | None:
        """The same with other limits of the width."""
        if self.agreement < LEAST_AGREEMENT:
            return phrase("the two networks outline it differently (Dice {dice:.2f})", dice=self.agreement)
        if not VOLUME_CM3[0] <= self.volume_cm3 <= VOLUME_CM3[1]:
            return phrase("its volume of {volume:.0f} cm3 is not plausible", volume=self.volume_cm3)
        if not width_mm[0] <= self.width_mm <= width_mm[1]:
            return phrase("its width of {width:.0f} mm is not plausible", width=self.width_mm)
        if self.solidity < LEAST_SOLIDITY:
            return phrase("its outline is irregular (it fills {share:.0f} % of its convex hull)", share=100 * self.solidity)
        if self.symmetry < LEAST_SYMMETRY:
            return phrase("its left and right halves differ (Dice {dice:.2f})", dice=self.symmetry)
        return None


def outline_doubts(drawn: tuple[tuple[Named, Refined], ...]) -> dict[Level, Phrase]:
    """What is implausible about outlined bodies, by level; plausible bodies are left out.

    Args:
        drawn: labelled bodies with their outlines, from the head downward.
    """
    forms = {entry.level: form_of(body) for entry, body in drawn}
    limits = _width_limits_mm([form.width_mm for form in forms.values()])
    doubts = {level: doubt for level, form in forms.items() if (doubt := form.doubt_within(limits)) is not None}
    for (upper, one), (lower, other) in pairwise(drawn):
        share = overlap(one, other)
        if share > MOST_OVERLAP:
            names = (upper.level.name, lower.level.name)
            doubt = phrase("{upper} and {lower} overlap by {share:.0f} %", upper=names[0], lower=names[1], share=100 * share)
            doubts.setdefault(upper.level, doubt)
            doubts.setdefault(lower.level, doubt)
    return doubts


def _width_limits_mm(widths_mm: list[float]) -> tuple[float, float]:
    """Limits of the width: lower ones if all bodies are narrow, which is not a fault of one outline."""
    usual_mm = float(np.median(widths_mm)) if len(widths_mm) >= LEAST_ALIKE else WIDTH_MM[0]
    if not LEAST_WIDTH_MM <= usual_mm < WIDTH_MM[0]:
        return WIDTH_MM
    return usual_mm * LEAST_OF_USUAL_WIDTH, WIDTH_MM[1]


def narrow_throughout(drawn: tuple[tuple[Named, Refined], ...]) -> Phrase | None:
    """What to say if all bodies are narrow; ``None`` if they are not."""
    widths_mm = [form_of(body).width_mm for _, body in drawn]
    if _width_limits_mm(widths_mm) == WIDTH_MM:
        return None
    return phrase(
        "The vertebral bodies are only {width:.0f} mm wide, so the distance between slices in the header may be wrong.",
        width=float(np.median(widths_mm)),
    )


def form_of(body: Refined) -> Form:
    """The shape of a body as outlined by the second network."""
    mask = one_piece(body.probability >= INSIDE)
    index = np.argwhere(mask)
    if len(index) == 0:
        return Form(0.0, 0.0, 0.0, 0.0, body.agreement)
    low, high = np.percentile(index[:, 2], [1, 99])
    return Form(
        len(index) * CROP_SPACING_MM**3 / 1000.0,
        float(high - low + 1) * CROP_SPACING_MM,
        _solidity(mask),
        _symmetry(mask),
        body.agreement,
    )


def overlap(one: Refined, other: Refined) -> float:
    """Overlap of two outlined bodies, as a share of the smaller one; to the nearest voxel."""
    first, second = one.probability >= INSIDE, other.probability >= INSIDE
    apart_mm = np.subtract(other.grid.origin_lps_mm, one.grid.origin_lps_mm)[::-1]
    shift = np.round(apart_mm / CROP_SPACING_MM).astype(int)
    low, high = np.maximum(shift, 0), np.minimum(first.shape, shift + second.shape)
    if (low >= high).any():
        return 0.0
    shared = (
        first[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
        & second[tuple(slice(a - s, b - s) for a, b, s in zip(low, high, shift, strict=True))]
    )
    return float(shared.sum()) / max(float(min(first.sum(), second.sum())), 1.0)


def _solidity(mask: npt.NDArray[np.bool_]) -> float:
    surface = np.argwhere(mask & ~ndimage.binary_erosion(mask))
    # A voxel is a cube, not a point, so its corners belong to the hull.
    corners = np.concatenate([surface + np.array(c) for c in np.ndindex(2, 2, 2)])
    try:
        return float(mask.sum() / ConvexHull(corners).volume)
    except QhullError:
        return 0.0


def _symmetry(mask: npt.NDArray[np.bool_]) -> float:
    """Dice with the mirror image, after removing tilt and rotation against the sagittal plane by shearing."""
    index = np.argwhere(mask).astype(np.float64)
    aside = index[:, 2] - index[:, 2].mean()
    variance = float((aside**2).sum())
    for axis in (0, 1):
        slope = float((aside * (index[:, axis] - index[:, axis].mean())).sum()) / max(variance, 1.0)
        index[:, axis] -= slope * aside
    straight = np.round(index - index.mean(axis=0)).astype(int)
    size = int(abs(straight).max()) + 1
    upright = np.zeros((2 * size + 1,) * 3, dtype=bool)
    upright[tuple((straight + size).T)] = True
    return float((upright & upright[:, :, ::-1]).sum() / upright.sum())
