"""The straight line through the rods of a calibration phantom, and its acceptance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from node.calibrate.equation import LEAST_R2, SLOPE_RANGE
from node.calibrate.find_rods import FoundRods
from node.language.phrase import phrase
from node.model import Reason
from node.model.calibration_phantoms import MINDWAYS_OFFSET_SHIFT_HU, MINDWAYS_SLOPE_SHIFT, CalibrationPhantom

Floats = npt.NDArray[np.float64]

#: Largest relative error of an independent insert.
INSERT_TOLERANCE = 0.07


@dataclass(frozen=True, slots=True)
class Line:
    """BMD = ``slope`` x HU + ``intercept`` (mg/cm3) with its statistics.

    Attributes:
        n: number of fitted points.
        r2: of the fit.
        slope_se, intercept_se: standard errors.
    """

    slope: float
    intercept: float
    slope_se: float
    intercept_se: float
    r2: float
    n: int

    def bmd_mg_cm3(self, hu: float) -> float:
        """Density of a reading."""
        return self.slope * hu + self.intercept


@dataclass(frozen=True, slots=True)
class Insert:
    """Reading of an independent insert of known density, which was not fitted."""

    hu: float
    density_mg_cm3: float


def fit_line(phantom: CalibrationPhantom, rods: FoundRods) -> Line | Reason:
    """Fit the line through the rods, one point per rod; with two rods, one point per rod and slab.

    Two points always lie on a line: with two rods the statistics describe the scatter along the rods, not the linearity of
    the scale.

    Without water values: ordinary least squares, BMD = slope x HU + intercept. With them (Mindways): ordinary least squares,
    HU - water = s_ref x density + b_ref; then s_CT = s_ref - 0.2174, b_CT = b_ref + 999.6, slope = 1 / s_CT and intercept =
    -b_CT / s_CT; the standard errors follow by propagation.

    Returns:
        The line, or why it cannot be used: ``poor_fit`` (R2 below 0.995) or ``implausible_slope`` (outside 0.40 to 1.10).
    """
    density = np.array([rod.density_mg_cm3 for rod in phantom.rods])
    water = np.array([rod.water_mg_cm3 or 0.0 for rod in phantom.rods])
    sections = rods.section_hu if len(phantom.rods) == 2 else rods.hu[None, :]
    density, water, hu = (np.broadcast_to(v, sections.shape).ravel() for v in (density, water, sections))
    line = _mindways(density, water, hu) if phantom.has_water_values else _least_squares(density, hu)
    return line if isinstance(line, Reason) else judged(line)


def judged(line: Line) -> Line | Reason:
    """The line, or why it may not be used."""
    if not line.r2 >= LEAST_R2:
        return Reason(
            "poor_fit",
            phrase(
                "R2 is {r2:.4f}, below {least:g}: rods were mixed up or missed, or the scan has artefacts",
                r2=line.r2,
                least=LEAST_R2,
            ),
        )
    low, high = SLOPE_RANGE
    if not low <= line.slope <= high:
        return Reason(
            "implausible_slope",
            phrase(
                "the slope is {slope:.3f} mg/cm3 per HU, outside {low:g} to {high:g}: wrong phantom, or not true HU",
                slope=line.slope,
                low=low,
                high=high,
            ),
        )
    return line


def insert_error(line: Line, insert: Insert) -> float | Reason:
    """Relative error of the independent insert, or ``insert_off`` if it is above 7 %."""
    read = line.bmd_mg_cm3(insert.hu)
    error = read / insert.density_mg_cm3 - 1
    if abs(error) > INSERT_TOLERANCE:
        return Reason(
            "insert_off",
            phrase(
                "the independent insert of {density:g} mg/cm3 reads {read:.1f} with this fit ({error:+.1%}; at most "
                "{tolerance:.0%} is allowed)",
                density=insert.density_mg_cm3,
                read=read,
                error=error,
                tolerance=INSERT_TOLERANCE,
            ),
        )
    return error


def mean_line(lines: Sequence[Line]) -> Line:
    """Average line of several scans: mean slope and intercept, lowest R2.

    Repeats do not reduce the standard errors: the deviations of the rods from the line are the same in each scan.
    """
    return Line(
        slope=float(np.mean([line.slope for line in lines])),
        intercept=float(np.mean([line.intercept for line in lines])),
        slope_se=float(np.mean([line.slope_se for line in lines])),
        intercept_se=float(np.mean([line.intercept_se for line in lines])),
        r2=min(line.r2 for line in lines),
        n=sum(line.n for line in lines),
    )


def equivalent_hu(phantom: CalibrationPhantom, hu: Floats) -> Floats:
    """HU that the densities alone would give: rods with water values (Mindways) have a different base than tissue.

    From the Mindways procedure: HU - water + 999.6 - 0.2174 x density = s_CT x density + b_CT.
    """
    if not phantom.has_water_values:
        return hu
    density = np.array([rod.density_mg_cm3 for rod in phantom.rods])
    water = np.array([rod.water_mg_cm3 or 0.0 for rod in phantom.rods])
    equivalent: Floats = hu - water + MINDWAYS_OFFSET_SHIFT_HU - MINDWAYS_SLOPE_SHIFT * density
    return equivalent


def _least_squares(density: Floats, hu: Floats) -> Line:
    from scipy import stats  # takes a second to import, and the worker never fits

    fit = stats.linregress(hu, density)
    return Line(
        slope=float(fit.slope),
        intercept=float(fit.intercept),
        slope_se=float(fit.stderr),
        intercept_se=float(fit.intercept_stderr),
        r2=float(fit.rvalue) ** 2,
        n=len(hu),
    )


def _mindways(density: Floats, water: Floats, hu: Floats) -> Line | Reason:
    from scipy import stats

    fit = stats.linregress(density, hu - water)
    s_ct = float(fit.slope) - MINDWAYS_SLOPE_SHIFT
    b_ct = float(fit.intercept) + MINDWAYS_OFFSET_SHIFT_HU
    if s_ct <= 0:
        said = phrase("HU decrease with density ({slope:.3f} HU per mg/cm3): wrong phantom", slope=s_ct)
        return Reason("implausible_slope", said)
    s_se, b_se = float(fit.stderr), float(fit.intercept_stderr)
    # intercept = -b / s: first order, with cov(s, b) = -mean(density) var(s)
    by_b, by_s = -1 / s_ct, b_ct / s_ct**2
    variance = (by_b * b_se) ** 2 + (by_s * s_se) ** 2 - 2 * by_b * by_s * float(density.mean()) * s_se**2
    return Line(
        slope=1 / s_ct,
        intercept=-b_ct / s_ct,
        slope_se=s_se / s_ct**2,
        intercept_se=math.sqrt(max(variance, 0.0)),
        r2=float(fit.rvalue) ** 2,
        n=len(hu),
    )
