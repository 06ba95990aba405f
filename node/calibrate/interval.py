"""The interval of a mean BMD: its components, their sources, and assumptions."""

from __future__ import annotations

import math
from collections.abc import Sequence

from scipy import special

from node.model import MEASURED_LEVELS, Calibration, LevelMeasurement

#: RMS-CV of automated trabecular BMD between sessions on one scanner (Eur Radiol Exp 2024).
SESSION_CV = 0.047
#: The same between scanners, for an equation that is not restricted to this scanner.
SCANNER_CV = 0.049
#: Volume within which the values of a region are assumed to be correlated. Twice the mean that split halves of the measured
#: regions gave in four real CTs (12 levels: mean 14, single level at most 56 mm3).
CORRELATED_VOLUME_MM3 = 30.0
_COVERAGE = 0.95


def interval_mg_cm3(levels: Sequence[LevelMeasurement], calibration: Calibration) -> tuple[float, float]:
    """95 % interval of the mean BMD ``B = slope x H + intercept`` of the usable levels, as far as its parts are known.

    ``B +- t u`` with ``u^2 = max(u_precision, u_region)^2 + u_fit^2 + u_spread^2``, all in mg/cm3:

    * ``u_precision = CV x |B|``, the lower bound: difference to another CT of the same patient. CV = 4.7 % between sessions
      if the equation is restricted to this scanner, else 4.9 % between scanners (RMS-CV of automated BMD, Eur Radiol Exp
      2024).
    * ``u_region = slope / n x sqrt(sum_i SD_i^2 min(1, V_c / V_i))``: sampling error of the region means from the standard
      deviation ``SD_i`` in HU and the volume ``V_i`` of each of the ``n`` regions. Neighbouring voxels are not independent:
      CT noise is correlated by the reconstruction (Kijewski and Judy, Phys Med Biol 1987;32:565-575), and trabeculae are
      larger than a voxel. A region therefore has ``V_i / V_c`` independent values, not one per voxel. ``V_c = 30 mm3`` is an
      assumption, see ``CORRELATED_VOLUME_MM3``. The lower bound already contains this error as in typical scans, so only
      the larger of the two counts: small or noisy regions widen the interval, large ones do not narrow it.
    * ``u_fit^2 = (H slope_se)^2 + intercept_se^2``: standard errors of the equation. Their covariance is not recorded; for
      rods with positive mean attenuation it is negative, so omitting it makes the interval wider for ``H >= 0``. A published
      equation without standard errors adds nothing here: its error is not known, and the report says that the interval does
      not include it.
    * ``u_spread^2 = s^2 / n x (1 - n / 4)``: scatter ``s`` of the levels' BMD, if levels of L1 to L4 are missing (the mean
      of ``n`` drawn from a finite population of four). A single level has no scatter; its reason says so.

    ``t`` is Student's factor for the effective degrees of freedom of Welch and Satterthwaite (GUM, JCGM 100:2008, G.4):
    ``n - 1`` for the scatter, points minus 2 for the fit, unlimited for the rest. Few rods or two scattered levels thus give
    a wider interval.

    Args:
        levels: the usable levels, each with a mean; at least one. A level without a standard deviation adds nothing to
            ``u_region``.
        calibration: the equation.

    Returns:
        Lower and upper end in mg/cm3.
    """
    n = len(levels)
    means_hu = [level.hu_mean for level in levels if level.hu_mean is not None]
    mean_hu = sum(means_hu) / n
    mean = calibration.slope * mean_hu + calibration.intercept

    precision = (SESSION_CV if calibration.of_this_scanner else SCANNER_CV) * abs(mean)
    region = calibration.slope / n * math.sqrt(sum(_mean_variance_hu2(level) for level in levels))
    fit2 = (mean_hu * (calibration.slope_se or 0.0)) ** 2 + (calibration.intercept_se or 0.0) ** 2
    scatter2 = sum((calibration.slope * (hu - mean_hu)) ** 2 for hu in means_hu) / (n - 1) if n > 1 else 0.0
    spread2 = scatter2 / n * (1 - n / len(MEASURED_LEVELS))

    variance = max(precision, region) ** 2 + fit2 + spread2
    # Welch-Satterthwaite: parts with unlimited degrees of freedom add nothing
    limited = spread2**2 / (n - 1) if n > 1 else 0.0
    if calibration.fit_points is not None:
        limited += fit2**2 / max(calibration.fit_points - 2, 1)
    freedom = variance**2 / limited if limited > 0 else math.inf
    half = float(special.stdtrit(freedom, (1 + _COVERAGE) / 2)) * math.sqrt(variance)
    return mean - half, mean + half


def _mean_variance_hu2(level: LevelMeasurement) -> float:
    """Variance of the mean of a region."""
    if level.hu_sd is None or level.roi_volume_mm3 <= 0:
        return 0.0
    return level.hu_sd**2 * min(1.0, CORRELATED_VOLUME_MM3 / level.roi_volume_mm3)
