"""Finds the rods of a calibration phantom among the discs of one image: a row in known order, at approximate distances."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from node.calibrate.discs import LARGEST_RING_SD_HU, RING, Disc, Image, find_discs
from node.model.calibration_phantoms import CalibrationPhantom

Places = npt.NDArray[np.float64]

#: The distances are nominal and uncertain: the row may be longer or shorter by this fraction.
_DISTANCE_TOLERANCE = 0.3
#: Largest deviation of a rod from its place in the row, relative to the smallest rod distance.
_PLACE_TOLERANCE = 0.15
#: Largest tilt: a phantom lies flat on the table.
_LARGEST_ROLL_DEG = 25.0
#: A rod without contrast reads within this of the surroundings.
_UNSEEN_WITHIN_HU = 25.0
#: The measured region, relative to the rod radius: well inside, even if the rod is thinner than nominal.
REGION = 0.6
#: A plausible slope: the pattern of the rods' HU hardly depends on it.
_TYPICAL_SLOPE = 0.75
#: Most solid material below a rod (its plate and a table), beyond its diameter; values above this HU are solid.
_MOST_BELOW_MM = 25.0
_SOLID_HU = -300.0
#: Standard deviation of a non-uniform region; also three times that of the others, which is noise.
_LARGEST_SD_HU = 60.0
_LEAST_SD_HU = 6.0


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """The rods in one image, in the order of the table.

    Attributes:
        places_mm: (rods, 2), row and column of each centre from the centre of the first pixel.
        hu, sd_hu: mean and standard deviation in each rod.
        seen: number of rods with contrast; the others read like their surroundings.
        uneven: rods that are not uniform.
        more: additional discs in the row that the table does not have.
        fit: Pearson correlation of HU with what the rods should read.
    """

    places_mm: Places
    hu: npt.NDArray[np.float64]
    sd_hu: npt.NDArray[np.float64]
    seen: int
    uneven: tuple[int, ...]
    more: int
    fit: float


def find_rows(image_hu: Image, spacing_mm: tuple[float, float], phantom: CalibrationPhantom) -> tuple[Row, ...]:
    """All rows of discs that may be the phantom, the likeliest first.

    Args:
        image_hu: (rows, columns), across the rods.
        spacing_mm: between rows and between columns.
        phantom: what to find.
    """
    radius_mm = phantom.rod_diameter_mm / 2
    discs = tuple(d for d in find_discs(image_hu, spacing_mm, radius_mm) if _is_low(d, image_hu, spacing_mm, phantom))
    found: dict[tuple[int | None, ...], Row] = {}
    for chosen, places in _hypotheses(discs, phantom):
        if chosen not in found and (row := _row(image_hu, spacing_mm, phantom, discs, chosen, places)):
            found[chosen] = row
    return tuple(sorted(found.values(), key=lambda row: (len(row.uneven), -row.seen, row.more, -row.fit)))


def read_regions(
    image_hu: Image, spacing_mm: tuple[float, float], phantom: CalibrationPhantom, places_mm: Places
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]] | None:
    """Mean and standard deviation in the middle of every rod; ``None`` if one is not completely in the image."""
    reach_mm = phantom.rod_diameter_mm / 2
    high = np.multiply(np.array(image_hu.shape) - 1, spacing_mm)
    if np.any(places_mm < reach_mm) or np.any(places_mm > high - reach_mm):
        return None
    means, sds = [], []
    for place in places_mm:
        values = _ring_values(image_hu, spacing_mm, place, (0.0, reach_mm * REGION))
        means.append(values.mean())
        sds.append(values.std())
    return np.array(means), np.array(sds)


def uneven_rods(sd_hu: npt.NDArray[np.float64]) -> tuple[int, ...]:
    """Rods with far more scatter than the others."""
    limit = min(_LARGEST_SD_HU, max(_LEAST_SD_HU, 3 * float(np.min(sd_hu))))
    return tuple(int(k) for k in np.flatnonzero(sd_hu > limit))


def _ring_values(
    image_hu: Image, spacing_mm: tuple[float, float], place_mm: npt.NDArray[np.float64], radii_mm: tuple[float, float]
) -> npt.NDArray[np.float64]:
    """Values between two distances from a place, within the image."""
    boxes = [
        slice(max(int(np.floor((p - radii_mm[1]) / s)), 0), int(np.ceil((p + radii_mm[1]) / s)) + 1)
        for p, s in zip(place_mm, spacing_mm, strict=True)
    ]
    box = image_hu[boxes[0], boxes[1]]
    rows, columns = (
        (np.arange(n) + slice_.start) * s - p for n, slice_, s, p in zip(box.shape, boxes, spacing_mm, place_mm, strict=True)
    )
    distance = np.hypot(rows[:, None], columns[None, :])
    values: npt.NDArray[np.float64] = box[(distance >= radii_mm[0]) & (distance <= radii_mm[1])]
    return values


def _is_low(disc: Disc, image_hu: Image, spacing_mm: tuple[float, float], phantom: CalibrationPhantom) -> bool:
    """Whether only a table is on one side of the disc, towards the first or the last row."""
    column = image_hu[:, round(disc.column_mm / spacing_mm[1])] > _SOLID_HU
    row = round(disc.row_mm / spacing_mm[0])
    least = min(int(column[:row].sum()), int(column[row + 1 :].sum())) * spacing_mm[0]
    return least <= phantom.rod_diameter_mm + _MOST_BELOW_MM


def _hypotheses(discs: Sequence[Disc], phantom: CalibrationPhantom) -> Iterator[tuple[tuple[int | None, ...], Places]]:
    """Places of all rods, from two discs that may be two of the rods, or from one if only one is visible."""
    along = np.array(phantom.places_mm)
    n = len(along)
    at = np.array([[d.row_mm, d.column_mm] for d in discs]).reshape(-1, 2)
    for i, j in ((i, j) for i in range(len(discs)) for j in range(len(discs)) if i != j):
        way = at[j] - at[i]
        if abs(way[0]) > abs(way[1]) * np.tan(np.deg2rad(_LARGEST_ROLL_DEG)):
            continue
        length = float(np.hypot(*way))
        for a in range(n):
            for b in range(a + 1, n):
                if abs(length / (along[b] - along[a]) - 1) <= _DISTANCE_TOLERANCE:
                    places = at[i] + np.outer((along - along[a]) / (along[b] - along[a]), way)
                    yield _snapped(at, places, along)
    if n == 2:
        for i, (a, sign) in ((i, (a, s)) for i in range(len(discs)) for a in range(2) for s in (-1.0, 1.0)):
            places = at[i] + np.outer(along - along[a], np.array([0.0, sign]))
            chosen: list[int | None] = [None, None]
            chosen[a] = i
            # the sign gives the side of the other rod
            yield (*chosen, int(sign)), places


def _snapped(at: Places, places: Places, along: npt.NDArray[np.float64]) -> tuple[tuple[int | None, ...], Places]:
    """The disc at each place, and the straight row through these discs."""
    near_mm = _PLACE_TOLERANCE * float(np.diff(along).min())
    chosen: list[int | None] = []
    for place in places:
        distances = np.hypot(*(at - place).T)
        nearest = int(np.argmin(distances))
        chosen.append(nearest if distances[nearest] <= near_mm else None)
    seen = [k for k, c in enumerate(chosen) if c is not None]
    if len(seen) < 2:
        return tuple(chosen), places
    line = np.polyfit(along[seen], at[[c for c in chosen if c is not None]], 1)
    straight: Places = np.outer(along, line[0]) + line[1]
    return tuple(chosen), straight


def _row(
    image_hu: Image,
    spacing_mm: tuple[float, float],
    phantom: CalibrationPhantom,
    discs: Sequence[Disc],
    chosen: tuple[int | None, ...],
    places: Places,
) -> Row | None:
    """A row with its readings; ``None`` if a place without contrast cannot be a rod."""
    readings = read_regions(image_hu, spacing_mm, phantom, places)
    if readings is None:
        return None
    hu, sd_hu = readings
    n = len(phantom.rods)
    seen = [k for k in range(n) if chosen[k] is not None]
    uneven = set(uneven_rods(sd_hu))
    # the ring of a dense rod contains some of its edge
    faintest = min((discs[c] for c in chosen[:n] if c is not None), key=lambda disc: abs(disc.hu - disc.ring_hu))
    for k in set(range(n)) - set(seen) - uneven:
        if abs(hu[k] - faintest.ring_hu) > _UNSEEN_WITHIN_HU:
            return None
    ring_mm = (RING[0] * phantom.rod_diameter_mm / 2, RING[1] * phantom.rod_diameter_mm / 2)
    if any(_ring_values(image_hu, spacing_mm, places[k], ring_mm).std() > LARGEST_RING_SD_HU for k in uneven):
        return None  # an edge, not a rod with an inclusion
    # two discs make a row; with two rods, one may read like the plate
    if len(uneven) > 1 or len(seen) + len(uneven) < (1 if n == 2 else 2):
        return None
    expected = np.array(phantom.rod_hu(_TYPICAL_SLOPE, 0.0))
    even = [k for k in range(n) if k not in uneven]
    fit = float(np.corrcoef(hu[even], expected[even])[0, 1]) if np.ptp(hu[even]) > 0 else -1.0
    taken = {c for c in chosen[:n] if c is not None}
    others = [d for i, d in enumerate(discs) if i not in taken]
    return Row(places, hu, sd_hu, len(seen), tuple(sorted(uneven)), _more(others, places), fit)


def _more(discs: Sequence[Disc], places: Places) -> int:
    """Discs on the line of the row, between its rods or up to one distance beyond its ends."""
    way = places[-1] - places[0]
    length = float(np.hypot(*way))
    unit = way / length
    step = length / (len(places) - 1)
    count = 0
    for disc in discs:
        offset = np.array([disc.row_mm, disc.column_mm]) - places[0]
        aside = abs(float(offset[0] * unit[1] - offset[1] * unit[0]))
        count += aside < 0.15 * step and -1.2 * step < float(offset @ unit) < length + 1.2 * step
    return count
