"""The table of values of a volume: how often each value occurs. It shows a scale that is not that of Hounsfield units.

Rescale Intercept and Bits Stored decide what a stored value means, and some programs write them wrong. Air is at -1000 HU by
definition. Where values have no room, the largest ones pile up, or wrap to the other end of the scale.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from node.language.phrase import Phrase, phrase

#: Range of the table; values beyond are counted at its ends.
_FROM_HU, _TO_HU = -4096, 40_000
#: Every second row and column is counted.
_STEP = 2
#: Air that was clipped or filled in is a value of its own, for at least this part of the voxels. Scanners write -1024 or
#: -1000 HU, padding lies below -1200.
_PILE_PART = 0.005
_CLIPPED_AIR_HU = (-1030, -970)
_LOWEST_AIR_HU = -1200
#: The middle of what is around -1000 HU lies above this in real series (-1012 in the noisiest of nine, -983 to -1008 in the
#: others).
_AIR_MIDDLE_HU = -1018
_AROUND_AIR_HU = -950
_LEAST_AIR_PART = 0.02
#: Metal piles up at 3071 HU (12 bits from -1024), a little above with other intercepts, or far above on an extended scale.
_PILE_LEAST_VOXELS = 20
_PILE_TIMES = 8
_PILE_AT_HU = (2900, 3110)
_EXTENDED_HU = 8000
#: No more of a trunk than this is denser than compact bone, and no less is below water. Real series have 0.15 % and 5 %.
_DENSE_HU, _MOST_DENSE_PART = 1500, 0.03
_LIGHT_HU, _LEAST_LIGHT_PART = -20, 0.003
#: Wrapped metal: holes of this value with a dense rim, in an image that reaches this part of what its bits can hold.
_RIM_HU, _HOLE_HU = 300, -200
_FULL_PART = 0.9
_LEAST_HOLE_VOXELS = 12


class ValueTable:
    """Counts the values of the slices of a volume, one slice after the other."""

    def __init__(self) -> None:
        """An empty table."""
        self._counts = np.zeros(_TO_HU - _FROM_HU + 1, dtype=np.int64)
        self._holes = 0

    def add(self, hu: npt.NDArray[np.floating], padding: npt.NDArray[np.bool_], largest_hu: float) -> None:
        """Count a slice.

        Args:
            hu: (rows, columns), rescaled and not clipped.
            padding: pixels that hold no measurement.
            largest_hu: what the largest stored value of so many bits means.
        """
        picked = hu[::_STEP, ::_STEP][~padding[::_STEP, ::_STEP]]
        at = np.clip(np.rint(picked), _FROM_HU, _TO_HU).astype(np.int64) - _FROM_HU
        self._counts += np.bincount(at, minlength=self._counts.size)
        if hu.max(initial=-np.inf) >= _FULL_PART * largest_hu:
            dense = hu > _RIM_HU
            holes = ndimage.binary_fill_holes(dense) & ~dense & (hu < _HOLE_HU) & ~padding
            self._holes += int(np.count_nonzero(holes))

    def doubt(self) -> Phrase | None:
        """Why the values are not Hounsfield units; ``None`` if the table does not show it."""
        if self._counts.sum() == 0:
            return None
        return self._air() or self._largest() or self._parts()

    def _between(self, low_hu: int, high_hu: int) -> npt.NDArray[np.int64]:
        return self._counts[low_hu - _FROM_HU : high_hu - _FROM_HU]

    def _air(self) -> Phrase | None:
        total = int(self._counts.sum())
        lowest_hu = int(np.flatnonzero(self._counts)[0]) + _FROM_HU
        pile = int(self._counts[lowest_hu - _FROM_HU])
        if pile > _PILE_PART * total and lowest_hu > _CLIPPED_AIR_HU[1]:
            return phrase("no value is below {lowest} HU, where air should be at -1000 HU", lowest=lowest_hu)
        air = self._between(_LOWEST_AIR_HU, _AROUND_AIR_HU).copy()
        common = int(air.argmax())
        # one value that stands alone was filled in or clipped, and says nothing of where air lies
        stands_out = _PILE_TIMES * max(1, np.median(air[air > 0]) if air.any() else 1)
        if air[common] > stands_out:
            if common + _LOWEST_AIR_HU < _CLIPPED_AIR_HU[0] and air[common] > _PILE_PART * total and not air[:common].any():
                return phrase("values were cut off at {clip} HU, lower than air", clip=common + _LOWEST_AIR_HU)
            # resampling and rounding leave it beside its own value, too
            beside = slice(max(common - 1, 0), common + 2)
            air[beside] = np.where(air[beside] > stands_out, 0, air[beside])
        if air.sum() > _LEAST_AIR_PART * total:
            middle_hu = int(np.searchsorted(np.cumsum(air), air.sum() / 2)) + _LOWEST_AIR_HU
            if middle_hu < _AIR_MIDDLE_HU:
                return phrase("air measures {air} HU instead of -1000 HU", air=middle_hu)
        return None

    def _largest(self) -> Phrase | None:
        highest_hu = int(np.flatnonzero(self._counts)[-1]) + _FROM_HU
        pile = int(self._counts[highest_hu - _FROM_HU])
        beside = self._between(max(_FROM_HU, highest_hu - 100), highest_hu)
        piled_up = pile >= _PILE_LEAST_VOXELS and pile > _PILE_TIMES * max(1.0, float(beside.mean()))
        if piled_up and not _PILE_AT_HU[0] <= highest_hu <= _PILE_AT_HU[1] and highest_hu < _EXTENDED_HU:
            return phrase("values pile up at {highest} HU: larger ones had no room", highest=highest_hu)
        if not piled_up and self._holes >= _LEAST_HOLE_VOXELS:
            return phrase("in metal the values wrap to the other end of the scale ({n} voxels)", n=self._holes)
        return None

    def _parts(self) -> Phrase | None:
        total = float(self._counts.sum())
        dense = float(self._counts[_DENSE_HU - _FROM_HU :].sum()) / total
        light = float(self._counts[: _LIGHT_HU - _FROM_HU].sum()) / total
        if dense > _MOST_DENSE_PART:
            return phrase(
                "{part:.0f} % of the voxels are above {limit} HU, as in no patient", part=100 * dense, limit=_DENSE_HU
            )
        if light < _LEAST_LIGHT_PART:
            return phrase("nothing is below {limit} HU, neither fat nor air", limit=_LIGHT_HU)
        return None
