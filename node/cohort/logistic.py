"""Logistic regression of the outcome on the measured value and covariates."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from statsmodels.discrete.discrete_model import Logit
from statsmodels.tools.sm_exceptions import ConvergenceWarning, PerfectSeparationError, PerfectSeparationWarning

from node.cohort.describe import counts
from node.cohort.table import Cell, as_text, is_numeric, numbers

#: Events per variable below which coefficients are unstable (Peduzzi, J Clin Epidemiol 1996;49:1373).
EVENTS_PER_VARIABLE = 10


@dataclass(frozen=True, slots=True)
class Term:
    """One term: the odds ratio for one ``unit`` more, with its 95 % Wald interval and p."""

    name: str
    unit: str
    coefficient: float
    se: float
    odds_ratio: float
    interval: tuple[float, float]
    p: float


@dataclass(frozen=True, slots=True)
class LogisticModel:
    """A fitted model.

    Attributes:
        n, n_cases: patients without a missing value, and cases among them.
        n_missing: patients left out because a value is missing.
        terms: without the intercept.
        p: likelihood ratio test against the model without terms.
        warnings: what a reader must know.
    """

    n: int
    n_cases: int
    n_missing: int
    terms: tuple[Term, ...]
    p: float
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Design:
    name: str
    unit: str
    scale: float
    values: tuple[float | None, ...]


def fit(
    value: Sequence[float],
    is_case: Sequence[bool],
    covariates: Mapping[str, Sequence[Cell]],
    per: float,
    name: str,
    unit: str,
) -> LogisticModel | str:
    """Fit a model to complete cases, or say why that is not possible.

    Args:
        value: the measured values.
        is_case: the outcome of each.
        covariates: by name; numbers are one term, words one for each entry but the most frequent.
        per: the odds ratio of the value is for this difference.
        name: of the value.
        unit: of the value.
    """
    designs = [_Design(name, f"per {per:g} {unit}", per, tuple(value))]
    for column, cells in covariates.items():
        designs += _terms(column, cells)
    x = np.array([[np.nan if v is None else v for v in design.values] for design in designs], dtype=float).T
    y = np.asarray(is_case, dtype=float)
    complete = ~np.isnan(x).any(axis=1)
    x, y = x[complete], y[complete]
    n, n_cases, n_missing = len(y), int(y.sum()), int((~complete).sum())
    if n_cases == 0 or n_cases == n:
        return "cases or controls are missing among the patients without a missing value"
    constant = [design.name for design, column in zip(designs, x.T, strict=True) if np.ptp(column) == 0]
    if constant:
        return f"{constant[0]} is the same in all patients without a missing value"
    if n <= len(designs) + 1:
        return f"{n} patients are too few for {len(designs)} terms"
    with_intercept = np.column_stack([np.ones(n), x])
    if np.linalg.matrix_rank(with_intercept) < with_intercept.shape[1]:
        return "the terms depend on each other: leave one out"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", ConvergenceWarning)
            warnings.simplefilter("error", PerfectSeparationWarning)
            fitted = Logit(y, with_intercept).fit(disp=0, maxiter=100, tol=1e-10)
    except (ConvergenceWarning, PerfectSeparationWarning, PerfectSeparationError, np.linalg.LinAlgError):
        return "cases and controls are separated completely by these terms: no odds ratio can be estimated"
    limits = fitted.conf_int(0.05)
    terms = tuple(
        Term(
            design.name,
            design.unit,
            float(fitted.params[i]),
            float(fitted.bse[i]),
            float(np.exp(fitted.params[i] * design.scale)),
            (float(np.exp(limits[i][0] * design.scale)), float(np.exp(limits[i][1] * design.scale))),
            float(fitted.pvalues[i]),
        )
        for i, design in enumerate(designs, start=1)
    )
    return LogisticModel(
        n, n_cases, n_missing, terms, float(fitted.llr_pvalue), _warnings(n, n_cases, n_missing, len(terms))
    )


def _terms(column: str, cells: Sequence[Cell]) -> list[_Design]:
    if is_numeric(cells):
        return [_Design(column, "per 1", 1.0, numbers(cells, column))]
    counted = counts(cells)
    if not counted:
        return [_Design(column, "", 1.0, (None,) * len(cells))]
    reference = max(counted, key=lambda entry: counted[entry])
    said = [as_text(cell) for cell in cells]
    return [
        _Design(column, f"{entry}, not {reference}", 1.0, tuple(None if not s else float(s == entry) for s in said))
        for entry in counted
        if entry != reference
    ] or [_Design(column, "", 1.0, tuple(0.0 if s else None for s in said))]


def _warnings(n: int, n_cases: int, n_missing: int, n_terms: int) -> tuple[str, ...]:
    said = []
    per_variable = min(n_cases, n - n_cases) / n_terms
    if per_variable < EVENTS_PER_VARIABLE:
        said.append(
            f"{per_variable:.1f} events per term: below {EVENTS_PER_VARIABLE}, odds ratios and intervals are unstable "
            "and may be too extreme"
        )
    if n_missing:
        said.append(f"{n_missing} patients with a missing value are left out")
    return tuple(said)
