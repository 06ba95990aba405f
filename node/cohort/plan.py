"""The plan of an evaluation: which column is which, who is excluded, how cases and controls are matched.

The docstrings of the fields are their documentation; ``bmd-node evaluate --example`` prints a plan to start from.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class ResultsPlan(_Section):
    """The results of the node."""

    key: str = "accession_number"
    """Column that joins results and outcomes. Must name one patient or one study in both."""
    value: str = "bmd_mg_cm3"
    """The measured value under test, such as ``bmd_mg_cm3`` or ``hu_mean``."""
    unit: str = "mg/cm3"
    """Its unit."""
    category: str = "category"
    """Column of the ACR category; empty: no classes in Table 2."""
    several: Literal["exclude", "first", "last"] = "exclude"
    """What happens to a key with several studies; nobody counts twice. ``first`` and ``last`` go by ``study_date``."""


class OutcomesPlan(_Section):
    """The table of outcomes."""

    key: str = "accession_number"
    """Column that joins outcomes and results."""
    column: str = ""
    """Column with the outcome; empty: there are no cases and controls, and only methods or repeats are compared."""
    cases: tuple[str, ...] = ("yes", "1", "true")
    """Entries of this column that make a case (for instance, screw loosening)."""
    controls: tuple[str, ...] = ("no", "0", "false")
    """Entries that make a control. Any other entry excludes the patient: nothing is guessed."""

    @model_validator(mode="after")
    def _nobody_is_both(self) -> Self:
        both = {word.casefold() for word in self.cases} & {word.casefold() for word in self.controls}
        if both:
            raise ValueError(f"{sorted(both)[0]} cannot make both a case and a control")
        return self


class Exclusion(_Section):
    """A rule of exclusion. One of ``keep``, ``drop``, ``below``, ``above`` and ``missing``."""

    reason: str
    """For the flow chart, such as ``other scanner``."""
    column: str
    keep: tuple[str, ...] | None = None
    """Exclude every other entry, and empty ones."""
    drop: tuple[str, ...] | None = None
    """Exclude these entries."""
    below: float | None = None
    """Exclude numbers below this, and empty entries."""
    above: float | None = None
    """Exclude numbers above this, and empty entries."""
    missing: bool = False
    """Exclude empty entries."""

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        given = sum(rule is not None for rule in (self.keep, self.drop, self.below, self.above)) + self.missing
        if given != 1:
            raise ValueError("write one of keep, drop, below, above and missing")
        return self


class MatchingPlan(_Section):
    """Pairs of cases and controls; see :mod:`node.cohort.matching`."""

    exact: tuple[str, ...] = ()
    """Columns that must be the same, such as ``sex`` and ``construct``."""
    within: dict[str, float] = Field(default_factory=dict)
    """Columns of numbers and the largest difference, such as ``{ age_years = 5 }``."""
    controls_per_case: int = Field(default=1, ge=1, le=10)
    """The most controls that a case gets."""
    seed: int = 1
    """Seed of the order in which equally good pairs are tried. The same seed gives the same pairs."""

    @model_validator(mode="after")
    def _something_matches(self) -> Self:
        if not self.exact and not self.within:
            raise ValueError("name columns in exact or within, or leave out [matching] for an unmatched analysis")
        if any(limit < 0 for limit in self.within.values()):
            raise ValueError("a difference in within must not be negative")
        return self


class TablePlan(_Section):
    """What the tables show."""

    numbers: tuple[str, ...] = ()
    """Table 1: columns of numbers, such as age and follow-up."""
    counts: tuple[str, ...] = ()
    """Table 1: columns of words, such as sex and construct."""
    value_by: tuple[str, ...] = ()
    """Table 2: columns with two entries between which the value is compared as well."""


class RocPlan(_Section):
    """ROC analysis."""

    low_is_case: bool = True
    """Whether low values speak for a case. The data do not decide it, so the AUC can be below 0.5."""
    thresholds: tuple[float, ...] = (80.0, 81.8)
    """Thresholds to apply as they are: 80 (ACR, osteoporosis) and 81.8 mg/cm3 (Löffler 2021, screw loosening)."""
    resamples: int = Field(default=2000, ge=100, le=100_000)
    """Bootstrap resamples for the interval of the threshold."""
    seed: int = 1
    """Seed of the bootstrap."""


class ModelPlan(_Section):
    """Logistic regression of the outcome on the value and covariates."""

    covariates: tuple[str, ...]
    """Such as age, sex and BMI. Columns of words become one term for each entry but the most frequent one."""
    per: float = Field(default=10.0, gt=0)
    """Odds ratio of the value for a difference of this, in its unit."""


class MethodPlan(_Section):
    """Comparison of the value with another column: another tool, QCT or DXA."""

    name: str
    """Of the other method, for the report."""
    column: str
    """Its column, in either table."""
    value: str = ""
    """Column to compare; empty: the value of ``[results]``."""
    variance_ratio: float = Field(default=1.0, gt=0)
    """Deming: variance of the errors of the other method, divided by that of the node. 1 is an assumption."""
    same_unit: bool = True
    """Whether both have the same unit. If not, there is a regression, but no difference and no agreement."""


class RepeatsPlan(_Section):
    """Precision from repeat scans: results with the same subject."""

    subject: str = "patient_id"
    """Column that names the subject."""
    value: str = ""
    """Column to compare; empty: the value of ``[results]``."""
    same: tuple[str, ...] = ()
    """Columns that must be the same for two scans to be repeats, such as ``scanner_model``, ``kvp`` and ``contrast_phase``.
    Without them, a scan with contrast counts as a repeat of one without."""
    max_days: float | None = Field(default=None, ge=0)
    """Use only scans at most this many days after the first of their subject (column ``study_date``): bone changes with
    time."""


class Plan(_Section):
    """A plan."""

    title: str = "Evaluation of a cohort"
    results: ResultsPlan = ResultsPlan()
    outcomes: OutcomesPlan = OutcomesPlan()
    exclusions: tuple[Exclusion, ...] = ()
    matching: MatchingPlan | None = None
    tables: TablePlan = TablePlan()
    roc: RocPlan = RocPlan()
    model: ModelPlan | None = None
    methods: tuple[MethodPlan, ...] = ()
    repeats: RepeatsPlan | None = None

    @model_validator(mode="after")
    def _something_is_asked(self) -> Self:
        if not self.outcomes.column and not self.methods and self.repeats is None:
            raise ValueError("name the outcome in outcomes.column, or add [[methods]] or [repeats]: nothing is asked for")
        return self
