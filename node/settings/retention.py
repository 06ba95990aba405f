"""How long the node keeps results and records."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from node.settings.types import Section


class RetentionSettings(Section):
    """How long results and records are kept; the worker removes what is older every hour, and ``bmd-node retention`` lists
    what would go next. Images have ``study.keep_days``, planned operations ``plans.keep_days``."""

    results_days: float = Field(default=3650.0, ge=1)
    """The folders of results of a study, and its alerts, are removed this many days after anything about its runs has
    changed. Without them nothing can be reissued or corrected. An assumption: ten years."""

    runs_days: float = Field(default=3650.0, ge=1)
    """The same for everything else that is recorded of a study, also the values with which later studies of the patient are
    compared. The readings of its scanner stay. Not shorter than ``results_days``."""

    workflows_days: float = Field(default=30.0, ge=1)
    """The history of finished workflows, and finished work, are removed after this many days. Only diagnosis needs them."""

    associations_days: float = Field(default=365.0, ge=1)
    """Ended associations are removed after this many days, except the last one of each AE title."""

    @model_validator(mode="after")
    def _runs_outlive_results(self) -> Self:
        if self.runs_days < self.results_days:
            raise ValueError("runs_days is shorter than results_days: nothing would lead to the results any more")
        return self
