"""Whether the slices of a volume come from one scan, judged from their values.

The means of tissues hardly change from one slice to the next. In a volume whose slices alternate between two scans (a
second pass with contrast, another tube voltage) they jump up and down. It is needed where no header tells the scans apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from node.common.errors import InputError
from node.language.phrase import Phrase, phrase
from node.model import HuArray

Floats = npt.NDArray[np.float64]


class SeveralScansError(InputError):
    """The slices of a series come from several scans, and nothing separates them."""


@dataclass(frozen=True, slots=True)
class _Tissue:
    """Voxels by the mean of two neighbouring slices, and the jumps from which on it is another scan.

    Attributes:
        middle_hu: limit for the jump of the median, if half of all slices differ so from both neighbours.
        tails_hu: the same for the mean of the first and the last decile, which shows vessels among bone.
        some_hu: limit for the median if a smaller part of the slices jumps; ``None``: too few voxels for that.
        is_large: whether it fills much of every slice, so that a few voxels are the edge of something else.
    """

    name: Phrase
    from_hu: float
    to_hu: float
    middle_hu: float
    tails_hu: float
    some_hu: float | None = None
    is_large: bool = False


#: In 14 real series of one scan, 0.6 to 5 mm apart, half of the slices jump by at most 0.2 HU in the first three, 3 HU in
#: the fourth and 2.6 HU in the last; every tenth slice by at most 5 HU in the first three.
_TISSUES = (
    _Tissue(phrase("air"), -1010, -900, 2.0, 4.0, 10.0, is_large=True),
    _Tissue(phrase("fat"), -160, -40, 2.0, 4.0, 10.0, is_large=True),
    _Tissue(phrase("soft tissue and blood"), 0, 90, 2.0, 4.0, 10.0, is_large=True),
    _Tissue(phrase("enhanced blood and spongy bone"), 100, 250, 6.0, 12.0),
    _Tissue(phrase("bone"), 250, 800, 8.0, 20.0),
)
#: Every second row and column of an image of at least this size is read.
_STEP, _LARGE_PIXELS = 2, 200
_LEAST_VOXELS = 150
#: The first three tissues fill at least this part of a slice; less is the edge of something else.
_LEAST_PART = 0.03
_LEAST_STEPS = 6
#: A jump is larger than this many standard errors: in an image of noise alone, half of them are above 0.5.
_ERRORS = 2.0
#: Jumps there and back that are not chance, though not everywhere: at least so many, for this part of the slices, and no
#: further apart than this.
_LEAST_RETURNS = 5
_RETURNS_PART = 0.12
_FAR_SLICES = 6


def alternation(hu: HuArray) -> Phrase | None:
    """How the values of the slices jump up and down; ``None`` if they do not, as in one scan.

    Slices that alternate one by one are found, and two by two; and slices that are mixed in any order, if the scans differ
    much.

    Args:
        hu: int16, (slices, rows, columns).
    """
    step = _STEP if min(hu.shape[1:]) >= _LARGE_PIXELS else 1
    picked = hu[:, ::step, ::step]
    # the slices of pairs are far apart, and bone changes over that distance in one scan too
    for slices, tissues in ((picked, _TISSUES), (picked[::2], _TISSUES[:3])):
        steps = _steps(slices)
        for number, tissue in enumerate(tissues):
            error_hu = _ERRORS * float(np.nanmedian(steps[:, number, 2])) if np.isfinite(steps[:, number, 2]).any() else 0.0
            jump_hu = _everywhere(steps[:, number, 0], max(tissue.middle_hu, error_hu))
            jump_hu = jump_hu or _everywhere(steps[:, number, 1], max(tissue.tails_hu, error_hu))
            if jump_hu is None and tissue.some_hu is not None:
                jump_hu = _somewhere(steps[:, number, 0], max(tissue.some_hu, error_hu))
            if jump_hu is not None:
                return phrase(
                    "the values of {tissue} jump up and down between neighbouring slices by {jump:.0f} HU",
                    tissue=tissue.name,
                    jump=jump_hu,
                )
    return None


def _steps(slices: HuArray) -> Floats:
    """From each slice to the next, (slices - 1, tissues, 3): median, mean of the outer deciles, and the standard error of
    the median from noise; NaN with few voxels."""
    found = np.full((max(0, len(slices) - 1), len(_TISSUES), 3), np.nan)
    for k in range(len(found)):
        one, next_one = slices[k].astype(np.float32), slices[k + 1].astype(np.float32)
        step, mean = next_one - one, (next_one + one) / 2
        for number, tissue in enumerate(_TISSUES):
            of_tissue = step[(mean >= tissue.from_hu) & (mean < tissue.to_hu)]
            is_edge = tissue.is_large and of_tissue.size < _LEAST_PART * step.size
            if not is_edge and of_tissue.size >= _LEAST_VOXELS:
                low, middle, high = np.quantile(of_tissue, [0.1, 0.5, 0.9])
                # the outer deciles of a normal distribution are 2.56 SD apart; the median scatters by 1.25 SD / sqrt(n)
                found[k, number] = middle, (low + high) / 2, 1.25 / 2.56 * (high - low) / np.sqrt(of_tissue.size)
    return found


def _everywhere(steps: Floats, limit_hu: float) -> float | None:
    """By how much half of the slices differ from both neighbours in the same direction, if that is above the limit."""
    before, after = steps[:-1], steps[1:]
    known = ~(np.isnan(before) | np.isnan(after))
    if np.count_nonzero(known) < _LEAST_STEPS:
        return None
    before, after = before[known], after[known]
    back = np.where(np.sign(before) != np.sign(after), np.minimum(np.abs(before), np.abs(after)), 0.0)
    jump_hu = float(np.median(back))
    return jump_hu if jump_hu > limit_hu else None


def _somewhere(steps: Floats, limit_hu: float) -> float | None:
    """Size of the jumps above the limit, if many of them go there and back."""
    known = np.nan_to_num(steps)
    at = np.flatnonzero(np.abs(known) > limit_hu)
    returns = (np.sign(known[at[1:]]) != np.sign(known[at[:-1]])) & (np.diff(at) <= _FAR_SLICES)
    if np.count_nonzero(returns) < max(_LEAST_RETURNS, _RETURNS_PART * len(known)):
        return None
    return float(np.median(np.abs(known[at])))
