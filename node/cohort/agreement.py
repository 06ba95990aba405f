"""Agreement of two methods, and precision of repeat scans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

FloatArray = NDArray[np.float64]
#: Fewer pairs give no limits of agreement.
MIN_PAIRS = 3
#: A change between two scans that exceeds 1.96 x sqrt(2) times their precision is significant at 95 % (Glüer, Osteoporos Int
#: 1995;5:262).
LSC_FACTOR = 2.77


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its 95 % interval."""

    value: float
    interval: tuple[float, float]


@dataclass(frozen=True, slots=True)
class BlandAltman:
    """Differences, first minus second (Bland and Altman, Lancet 1986;i:307, also the intervals).

    Attributes:
        bias: mean difference.
        sd: of the differences.
        lower, upper: limits of agreement, bias -/+ 1.96 SD.
        slope_p: whether the difference depends on the mean of both (slope of the regression).
    """

    n: int
    bias: Estimate
    sd: float
    lower: Estimate
    upper: Estimate
    slope: float
    slope_p: float


@dataclass(frozen=True, slots=True)
class Icc:
    """Intraclass correlation of single measurements, two-way (McGraw and Wong, Psychol Methods 1996;1:30, tables 4 and 7).

    Attributes:
        agreement: ICC(A,1); a bias between the methods lowers it.
        consistency: ICC(C,1); a bias does not.
    """

    n: int
    agreement: Estimate
    consistency: Estimate


@dataclass(frozen=True, slots=True)
class Deming:
    """Deming regression, second = intercept + slope x first; intervals by jackknife (Linnet, Clin Chem 1993;39:424)."""

    n: int
    variance_ratio: float
    slope: Estimate
    intercept: Estimate


@dataclass(frozen=True, slots=True)
class Precision:
    """Precision of repeat scans (Glüer, Osteoporos Int 1995;5:262).

    Attributes:
        n_subjects, n_scans: subjects with at least two scans, and their scans.
        df: degrees of freedom; Glüer asks for at least 27.
        rms_sd: root mean square of the SD of the subjects, weighted by their degrees of freedom.
        rms_cv_percent: the same of the coefficients of variation.
        lsc, lsc_percent: least significant change.
    """

    n_subjects: int
    n_scans: int
    df: int
    rms_sd: Estimate
    rms_cv_percent: Estimate
    lsc: float
    lsc_percent: float


def bland_altman(first: FloatArray, second: FloatArray) -> BlandAltman:
    """Compare pairs; at least :data:`MIN_PAIRS` of them."""
    difference, mean = first - second, (first + second) / 2
    n, bias, sd = len(difference), float(difference.mean()), float(difference.std(ddof=1))
    t = float(stats.t.ppf(0.975, n - 1))
    of_bias, of_limit = t * sd / np.sqrt(n), t * sd * np.sqrt(3 / n)
    slope = stats.linregress(mean, difference) if np.ptp(mean) > 0 else None

    def around(value: float, half: float) -> Estimate:
        return Estimate(value, (value - float(half), value + float(half)))

    return BlandAltman(
        n,
        around(bias, of_bias),
        sd,
        around(bias - 1.96 * sd, of_limit),
        around(bias + 1.96 * sd, of_limit),
        float("nan") if slope is None else float(slope.slope),
        float("nan") if slope is None else float(slope.pvalue),
    )


def icc(first: FloatArray, second: FloatArray) -> Icc | str:
    """Intraclass correlation of pairs, or why there is none."""
    x = np.column_stack([first, second])
    n, k = x.shape
    grand = x.mean()
    rows = k * float(((x.mean(axis=1) - grand) ** 2).sum()) / (n - 1)
    columns = n * float(((x.mean(axis=0) - grand) ** 2).sum()) / (k - 1)
    residual = x - x.mean(axis=1, keepdims=True) - x.mean(axis=0, keepdims=True) + grand
    error = float((residual**2).sum()) / ((n - 1) * (k - 1))
    if error <= 1e-12 * max(rows, 1e-300):
        return "the pairs differ by a constant: there is no random difference"
    consistency = (rows - error) / (rows + (k - 1) * error)
    f = rows / error
    df = (n - 1, (n - 1) * (k - 1))
    low, high = f / stats.f.ppf(0.975, *df), f * stats.f.ppf(0.975, df[1], df[0])
    of_consistency = ((low - 1) / (low + k - 1), (high - 1) / (high + k - 1))
    agreement = (rows - error) / (rows + (k - 1) * error + k * (columns - error) / n)
    a, b = k * agreement / (n * (1 - agreement)), 1 + k * agreement * (n - 1) / (n * (1 - agreement))
    v = (a * columns + b * error) ** 2 / ((a * columns) ** 2 / (k - 1) + (b * error) ** 2 / ((n - 1) * (k - 1)))
    f_low, f_high = stats.f.ppf(0.975, n - 1, v), stats.f.ppf(0.975, v, n - 1)
    spread = k * columns + (k * n - k - n) * error
    of_agreement = (
        n * (rows - f_low * error) / (f_low * spread + n * rows),
        n * (f_high * rows - error) / (spread + n * f_high * rows),
    )
    return Icc(
        n,
        Estimate(agreement, (float(of_agreement[0]), float(of_agreement[1]))),
        Estimate(consistency, (float(of_consistency[0]), float(of_consistency[1]))),
    )


def deming(first: FloatArray, second: FloatArray, variance_ratio: float) -> Deming | str:
    """Deming regression of pairs, or why there is none.

    Args:
        first, second: pairs.
        variance_ratio: variance of the errors of the second method, divided by that of the first.
    """
    n = len(first)
    line = _deming(first, second, variance_ratio)
    if line is None:
        return "the methods do not vary together"
    left_out = [_deming(np.delete(first, i), np.delete(second, i), variance_ratio) for i in range(n)]
    if any(one is None for one in left_out):
        return "the line rests on one pair alone"
    pseudo = n * np.array(line) - (n - 1) * np.array(left_out, dtype=float)
    half = stats.t.ppf(0.975, n - 2) * pseudo.std(axis=0, ddof=1) / np.sqrt(n)
    slope, intercept = (Estimate(value, (value - float(half[i]), value + float(half[i]))) for i, value in enumerate(line))
    return Deming(n, variance_ratio, slope, intercept)


def _deming(x: FloatArray, y: FloatArray, ratio: float) -> tuple[float, float] | None:
    """Slope and intercept (Linnet, Clin Chem 1990;36:1463)."""
    sxx, syy = x.var(ddof=1), y.var(ddof=1)
    sxy = float(np.cov(x, y, ddof=1)[0, 1])
    if sxy == 0 or sxx == 0:
        return None
    part = syy - ratio * sxx
    slope = float((part + np.sqrt(part**2 + 4 * ratio * sxy**2)) / (2 * sxy))
    return slope, float(y.mean() - slope * x.mean())


def precision(of_subject: Mapping[tuple[str, ...], Sequence[float]]) -> Precision | str:
    """Precision of repeat scans, or why there is none.

    Args:
        of_subject: values of each subject; subjects with one scan do not count.
    """
    repeated = [np.asarray(values, dtype=float) for values in of_subject.values() if len(values) > 1]
    if not repeated:
        return "no subject was scanned twice"
    if any(values.mean() <= 0 for values in repeated):
        return "the mean of a subject is not above 0, so there is no coefficient of variation"
    weights = np.array([len(values) - 1 for values in repeated])
    sd = np.array([values.std(ddof=1) for values in repeated])
    cv = 100.0 * sd / np.array([values.mean() for values in repeated])
    df = int(weights.sum())
    # the variance is distributed as chi-squared with these degrees of freedom
    factors = np.sqrt(df / stats.chi2.ppf([0.975, 0.025], df))

    def rms(values: FloatArray) -> Estimate:
        value = float(np.sqrt((weights * values**2).sum() / df))
        return Estimate(value, (value * float(factors[0]), value * float(factors[1])))

    of_sd, of_cv = rms(sd), rms(cv)
    n_scans = sum(len(values) for values in repeated)
    return Precision(len(repeated), n_scans, df, of_sd, of_cv, LSC_FACTOR * of_sd.value, LSC_FACTOR * of_cv.value)
