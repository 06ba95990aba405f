"""ROC analysis: AUC with DeLong's interval, thresholds with Wilson intervals, and the bootstrap of the best threshold.

A threshold separates strictly: with low values for cases, "below 81.8" as in the study.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from sklearn.metrics import roc_auc_score, roc_curve
from statsmodels.stats.proportion import proportion_confint

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
#: Two Youden indices closer than this are equal.
_SAME = 1e-12


@dataclass(frozen=True, slots=True)
class Auc:
    """Area under the ROC curve.

    Attributes:
        se: standard error after DeLong et al. (Biometrics 1988;44:837).
        interval: 95 %, normal approximation, within 0 and 1.
        p: two-sided, against 0.5, from ``se``; ``None`` if ``se`` is 0 (cases and controls are separated completely).
        p_null: the same from the standard error under the hypothesis of 0.5 (normal approximation of the Mann-Whitney
            test), as SPSS computes it and the study reports it.
    """

    n_cases: int
    n_controls: int
    auc: float
    se: float
    interval: tuple[float, float]
    p: float | None
    p_null: float


@dataclass(frozen=True, slots=True)
class Proportion:
    """A proportion with its 95 % Wilson interval (J Am Stat Assoc 1927;22:209)."""

    count: int
    total: int
    share: float
    interval: tuple[float, float]


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """What a threshold does in these data.

    Attributes:
        sensitivity: cases on the side of the cases.
        specificity: controls on the other side.
        youden: sensitivity + specificity - 1.
    """

    threshold: float
    sensitivity: Proportion
    specificity: Proportion
    youden: float


@dataclass(frozen=True, slots=True)
class BestThreshold:
    """The threshold with the largest Youden index (Cancer 1950;3:32).

    Attributes:
        point: midway between two neighbouring values; of equally good ones that with the highest specificity.
        equally_good: the other thresholds with the same index.
        interval: 95 %, percentiles of the bootstrap, resampled within cases and controls; ``None`` without variation.
        resamples, seed: of the bootstrap.
    """

    point: OperatingPoint
    equally_good: tuple[float, ...]
    interval: tuple[float, float]
    resamples: int
    seed: int


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """The ROC curve: from (0, 0) to (1, 1)."""

    false_positive_rate: FloatArray
    true_positive_rate: FloatArray


def curve(values: FloatArray, is_case: BoolArray, low_is_case: bool) -> Curve:
    """Every point of the curve."""
    score = -values if low_is_case else values
    false_positive, true_positive, _ = roc_curve(is_case, score, drop_intermediate=False)
    return Curve(false_positive, true_positive)


def auc(values: FloatArray, is_case: BoolArray, low_is_case: bool) -> Auc:
    """Area under the curve. Both groups need at least two members."""
    score = -values if low_is_case else values
    cases, controls = score[is_case], score[~is_case]
    m, n = len(cases), len(controls)
    area = float(roc_auc_score(is_case, score))
    # DeLong's structural components by ranks (Sun and Xu, IEEE Signal Process Lett 2014;21:1389)
    ranks = stats.rankdata(np.concatenate([cases, controls]))
    of_cases = (ranks[:m] - stats.rankdata(cases)) / n
    of_controls = 1.0 - (ranks[m:] - stats.rankdata(controls)) / m
    se = float(np.sqrt(of_cases.var(ddof=1) / m + of_controls.var(ddof=1) / n))
    half = float(stats.norm.ppf(0.975)) * se
    p = None if se == 0 else float(2 * stats.norm.sf(abs(area - 0.5) / se))
    null = stats.mannwhitneyu(cases, controls, use_continuity=False, method="asymptotic")
    return Auc(m, n, area, se, (max(0.0, area - half), min(1.0, area + half)), p, float(null.pvalue))


def proportion(count: int, total: int) -> Proportion:
    """A proportion of at least one."""
    low, high = proportion_confint(count, total, alpha=0.05, method="wilson")
    return Proportion(count, total, count / total, (float(low), float(high)))


def operating_point(values: FloatArray, is_case: BoolArray, low_is_case: bool, threshold: float) -> OperatingPoint:
    """Apply a threshold. A value equal to it is on the side of the controls."""
    positive = values < threshold if low_is_case else values > threshold
    sensitivity = proportion(int((positive & is_case).sum()), int(is_case.sum()))
    specificity = proportion(int((~positive & ~is_case).sum()), int((~is_case).sum()))
    return OperatingPoint(threshold, sensitivity, specificity, sensitivity.share + specificity.share - 1.0)


def best_threshold(values: FloatArray, is_case: BoolArray, low_is_case: bool, resamples: int, seed: int) -> BestThreshold:
    """Find the threshold with the largest Youden index, and how far it varies with the sample.

    The values must not all be the same.
    """
    # sorted, so that the resamples do not depend on the order of the patients
    cases, controls = np.sort(values[is_case]), np.sort(values[~is_case])
    best = _best(cases, controls, low_is_case)
    found = [
        thresholds[0]
        for of_cases, of_controls in resampled(len(cases), len(controls), resamples, seed)
        if len(thresholds := _best(cases[of_cases], controls[of_controls], low_is_case))
    ]
    low, high = np.quantile(np.array(found), [0.025, 0.975])
    point = operating_point(values, is_case, low_is_case, float(best[0]))
    return BestThreshold(point, tuple(float(t) for t in best[1:]), (float(low), float(high)), resamples, seed)


def resampled(n_cases: int, n_controls: int, resamples: int, seed: int) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Indices of cases and controls of every bootstrap sample."""
    random = np.random.default_rng(seed)
    return [(random.integers(0, n_cases, n_cases), random.integers(0, n_controls, n_controls)) for _ in range(resamples)]


def _best(cases: FloatArray, controls: FloatArray, low_is_case: bool) -> FloatArray:
    """Thresholds with the largest index, the one with the highest specificity first; none if all values are the same."""
    values: FloatArray = np.unique(np.concatenate([cases, controls]))
    middle: FloatArray = (values[:-1] + values[1:]) / 2
    if len(middle) == 0:
        return middle
    below = np.searchsorted(np.sort(cases), middle) / len(cases) - np.searchsorted(np.sort(controls), middle) / len(controls)
    index = below if low_is_case else -below
    best: FloatArray = middle[index >= index.max() - _SAME]
    return best if low_is_case else best[::-1]
