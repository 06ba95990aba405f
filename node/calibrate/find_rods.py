"""Finds a calibration phantom in a scan and reads its rods, from the image alone; otherwise gives the reason.

The scan is averaged over slabs of several slices. Each slab is searched for a row of rods (:mod:`node.calibrate.rows`). A
phantom is found if several slabs show the same row, along straight rods.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from node.calibrate.discs import Image
from node.calibrate.rows import REGION, Places, Row, find_rows, read_regions, uneven_rods
from node.language.phrase import phrase
from node.model import Orientation, Reason, Volume
from node.model.calibration_phantoms import CalibrationPhantom

#: Approximate slab thickness: noise averages out, and a slightly tilted rod stays in place.
_SLAB_MM = 12.0
_MOST_SLABS = 12
#: With fewer, a disc cannot be told from a rod.
_LEAST_SLABS = 3
#: Largest distance between rods of neighbouring slabs, plus the allowed tilt (5 degrees).
_SAME_PLACE_MM = 2.0
_LARGEST_YAW = 0.09
#: A rod is complete in a slice if it reads within this of its median over the slices, or within so many median deviations.
_LEAST_JUMP_HU = 25.0
_JUMP_PER_MEDIAN = 7.0
#: A second row that matches the phantom this well makes the result ambiguous.
_LIKE_THE_PHANTOM = 0.9975


@dataclass(frozen=True, slots=True, eq=False)
class FoundRods:
    """The rods in a scan.

    Attributes:
        hu: mean of each rod over all sections, in the order of the table.
        section_hu: (sections, rods), mean of each rod in each section of some slices.
        slices: (sections, 2), first and last slice of each section.
        places: (sections, rods, 2), row and column of each centre, in pixels.
        region_radius_mm: of the measured discs.
        left_out: number of slices excluded because a rod is incomplete there.
    """

    hu: npt.NDArray[np.float64]
    section_hu: npt.NDArray[np.float64]
    slices: npt.NDArray[np.intp]
    places: npt.NDArray[np.float64]
    region_radius_mm: float
    left_out: int

    @property
    def sd_along_hu(self) -> npt.NDArray[np.float64]:
        """Standard deviation of each rod's mean along the rod."""
        sd: npt.NDArray[np.float64] = self.section_hu.std(axis=0, ddof=1)
        return sd


@dataclass(frozen=True, slots=True, eq=False)
class _Slab:
    first: int
    last: int
    image_hu: Image

    @property
    def middle(self) -> float:
        return (self.first + self.last) / 2


def find_rods(volume: Volume, phantom: CalibrationPhantom) -> FoundRods | Reason:
    """Find the rods of a phantom.

    Args:
        volume: axial; the rods run across the slices.
        phantom: what to find. It may be anywhere, in either direction, turned over, mirrored, and tilted by some degrees.

    Returns:
        The rods, or why they cannot be used: ``rods_not_axial``, ``no_rods``, ``rods_not_even`` (metal, air or streaks in
        one), ``rods_mixed_up`` (HU do not rise in the order of the table), ``other_rods`` (the row has more rods than the
        phantom), ``rods_ambiguous``.
    """
    if volume.facts.orientation is not Orientation.AXIAL:
        plane = {Orientation.SAGITTAL: phrase("sagittal")}.get(volume.facts.orientation, phrase("coronal"))
        return Reason("rods_not_axial", phrase("rods are read in axial slices; these are {plane}", plane=plane))
    spacing = volume.axis_spacing_mm
    plane_mm = (spacing[1], spacing[2])
    slabs = _slabs(volume, spacing[0])
    if len(slabs) < _LEAST_SLABS:
        said = phrase("{n} slices are too few to distinguish rods from other round objects", n=len(volume.hu))
        return Reason("no_rods", said)
    rows = [find_rows(slab.image_hu, plane_mm, phantom) for slab in slabs]
    best = _same_row(slabs, [[row for row in found if not row.uneven] for found in rows], spacing[0])
    if len(best) < _LEAST_SLABS:
        return _why_none(slabs, rows, spacing[0], phantom)
    chosen = [row for _, row in best]
    if reason := _fault(chosen, phantom):
        return reason
    if _another(best, rows, plane_mm, phantom):
        return Reason(
            "rods_ambiguous",
            phrase("two places in the scan look like the rods of {phantom}: scan only one phantom", phantom=phantom.name),
        )
    return _read(volume, slabs, best, phantom)


def _slabs(volume: Volume, distance_mm: float) -> list[_Slab]:
    count = len(volume.hu)
    thick = max(1, min(round(_SLAB_MM / distance_mm), count // _LEAST_SLABS))
    starts = np.arange(0, count - thick + 1, thick)
    if len(starts) > _MOST_SLABS:
        starts = starts[np.linspace(0, len(starts) - 1, _MOST_SLABS).round().astype(int)]
    return [_Slab(int(k), int(k) + thick - 1, volume.hu[k : k + thick].mean(axis=0, dtype=np.float64)) for k in starts]


def _same_row(slabs: Sequence[_Slab], rows: Sequence[Sequence[Row]], distance_mm: float) -> list[tuple[int, Row]]:
    """The row that most slabs show at the same place, with the slab numbers; the likeliest of equals."""
    best: list[tuple[int, Row]] = []
    best_key: tuple[float, ...] = ()
    for number, found in enumerate(rows):
        for row in found[:3]:
            chain = []
            for other, others in enumerate(rows):
                near_mm = _SAME_PLACE_MM + _LARGEST_YAW * abs(slabs[other].middle - slabs[number].middle) * distance_mm
                same = (r for r in others if float(np.abs(r.places_mm - row.places_mm).max()) <= near_mm)
                if (first := next(same, None)) is not None:
                    chain.append((other, first))
            of_chain = [r for _, r in chain]
            key = (
                float(len(chain) >= _LEAST_SLABS),
                float(np.mean([r.seen for r in of_chain])),
                -float(np.mean([r.more for r in of_chain])),
                round(float(np.mean([r.fit for r in of_chain])), 4),
                float(len(chain)),
            )
            if key > best_key:
                best, best_key = chain, key
    return best


def _why_none(
    slabs: Sequence[_Slab], rows: Sequence[Sequence[Row]], distance_mm: float, phantom: CalibrationPhantom
) -> Reason:
    broken = _same_row(slabs, [[row for row in found if row.uneven] for found in rows], distance_mm)
    if len(broken) >= _LEAST_SLABS:
        row = broken[0][1]
        k = row.uneven[0]
        return Reason(
            "rods_not_even",
            phrase(
                "the {density:g} mg/cm3 rod reads {hu:.0f} ± {sd:.0f} HU: it contains metal, air or a streak artefact",
                density=phantom.rods[k].density_mg_cm3,
                hu=float(row.hu[k]),
                sd=float(row.sd_hu[k]),
            ),
        )
    return Reason(
        "no_rods",
        phrase(
            "no row of {n} rods like those of {phantom} (diameter about {diameter_mm:g} mm, {apart_mm:g} mm apart) was "
            "found on the table in at least {parts} parts of the scan",
            n=len(phantom.rods),
            phantom=phantom.name,
            diameter_mm=phantom.rod_diameter_mm,
            apart_mm=phantom.places_mm[1] - phantom.places_mm[0],
            parts=_LEAST_SLABS,
        ),
    )


def _fault(rows: Sequence[Row], phantom: CalibrationPhantom) -> Reason | None:
    """Why the row is not that of the phantom."""
    if np.median([row.more for row in rows]) > 0:
        return Reason(
            "other_rods",
            phrase(
                "the row has more than the {n} rods of {phantom}: a different phantom was scanned",
                n=len(phantom.rods),
                phantom=phantom.name,
            ),
        )
    hu = np.mean([row.hu for row in rows], axis=0)
    by_expected = np.argsort(phantom.rod_hu(0.75, 0.0))
    if any(b <= a for a, b in pairwise(hu[by_expected])):
        read = ", ".join(f"{rod.density_mg_cm3:g}: {value:.0f}" for rod, value in zip(phantom.rods, hu, strict=True))
        return Reason(
            "rods_mixed_up",
            phrase(
                "HU along the row do not rise as expected for {phantom} (mg/cm3: HU would be {read}); if your phantom has "
                "another rod order, describe it in a file (--rods)",
                phantom=phantom.name,
                read=read,
            ),
        )
    return None


def _another(
    best: Sequence[tuple[int, Row]],
    rows: Sequence[Sequence[Row]],
    plane_mm: tuple[float, float],
    phantom: CalibrationPhantom,
) -> bool:
    """Whether a second row elsewhere matches the phantom equally well in most slabs."""
    count = 0
    for number, row in best:
        apart_mm = phantom.rod_diameter_mm / 2 + max(plane_mm)
        count += any(
            not other.uneven
            and other.seen >= row.seen
            and other.fit >= _LIKE_THE_PHANTOM
            and float(np.abs(other.places_mm - row.places_mm).max()) > apart_mm
            for other in rows[number]
        )
    return count > len(best) / 2


def _read(
    volume: Volume, slabs: Sequence[_Slab], best: Sequence[tuple[int, Row]], phantom: CalibrationPhantom
) -> FoundRods | Reason:
    """Read the rods along straight lines through the positions of all slabs, in slices where every rod is complete."""
    spacing = volume.axis_spacing_mm
    plane_mm = (spacing[1], spacing[2])
    seen = np.array([row.places_mm for _, row in best])
    middles = np.array([slabs[number].middle for number, _ in best])
    lines = np.polyfit(middles, seen.reshape(len(best), -1), 1)

    def places(middle: float) -> Places:
        at: Places = (lines[0] * middle + lines[1]).reshape(-1, 2)
        return at

    spanned = range(slabs[best[0][0]].first, slabs[best[-1][0]].last + 1)
    whole = _whole_slices(volume, spanned, [places(k) for k in spanned], plane_mm, phantom)
    sections: list[tuple[npt.NDArray[np.float64], tuple[int, int], Places]] = []
    count = int(np.clip(round(len(whole) * spacing[0] / _SLAB_MM), _LEAST_SLABS, _MOST_SLABS))
    for part in np.array_split(whole, count) if len(whole) >= _LEAST_SLABS else ():
        at = places(float(part.mean()))
        readings = read_regions(volume.hu[part].mean(axis=0, dtype=np.float64), plane_mm, phantom, at)
        if readings is not None and not uneven_rods(readings[1]):
            sections.append((readings[0], (int(part[0]), int(part[-1])), at / np.array(plane_mm)))
    if len(sections) < max(_LEAST_SLABS, count / 2) or len(whole) < len(spanned) / 2:
        said = phrase("at least one rod is not uniform in most of the {n} slices with rods", n=len(spanned))
        return Reason("rods_not_even", said)
    section_hu = np.array([hu for hu, _, _ in sections])
    return FoundRods(
        section_hu.mean(axis=0),
        section_hu,
        np.array([slices for _, slices, _ in sections]),
        np.array([at for _, _, at in sections]),
        phantom.rod_diameter_mm / 2 * REGION,
        len(spanned) - len(whole),
    )


def _whole_slices(
    volume: Volume,
    spanned: range,
    places: Sequence[Places],
    plane_mm: tuple[float, float],
    phantom: CalibrationPhantom,
) -> npt.NDArray[np.intp]:
    """Slices in which every rod reads as in most slices; not so where a rod ends or a streak crosses it.

    The neighbours of an excluded slice are also excluded.
    """
    missing = np.full(len(phantom.rods), np.nan)
    readings = [
        read_regions(volume.hu[k].astype(np.float64), plane_mm, phantom, at) for k, at in zip(spanned, places, strict=True)
    ]
    hu = np.array([missing if reading is None else reading[0] for reading in readings])
    off = np.abs(hu - np.nanmedian(hu, axis=0))
    limit = np.maximum(_LEAST_JUMP_HU, _JUMP_PER_MEDIAN * np.nanmedian(off, axis=0))
    bad = ~np.all(off <= limit, axis=1)
    bad = np.convolve(bad, np.ones(3), mode="same") > 0
    whole: npt.NDArray[np.intp] = np.flatnonzero(~bad) + spanned.start
    return whole
