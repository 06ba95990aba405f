"""Effect of intravenous contrast on a BMD: caveat, wider interval, withheld category; a site's own correction.

Contrast raises trabecular attenuation: at L1 from 128.8 HU to 142.3 in the arterial and 147.0 in the portal venous phase.
The scatter between patients (11.2 +- 19.2 HU) is larger than the effect. No source with an equation between phases could be
read, so nothing is subtracted unless the site enters its own measured and approved correction.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, Strict, StringConstraints, model_validator

from node.calibrate.acr import thresholds_crossed
from node.language.phrase import phrase
from node.model import Calibration, ContrastConclusion, ContrastCorrection, ContrastPhase, Reason, SeriesFacts

#: Mean bias of the pipeline in the portal venous phase, mg/ml (arterial: 5.68): the larger of the two.
CONTRAST_BIAS_MG_CM3 = 17.5
_Z_95 = 1.96
_ENHANCED = (ContrastPhase.ARTERIAL, ContrastPhase.PORTAL_VENOUS)
_PHASE_WORDS = {
    ContrastPhase.NONE: phrase("phase without contrast"),
    ContrastPhase.ARTERIAL: phrase("arterial phase"),
    ContrastPhase.PORTAL_VENOUS: phrase("portal venous phase"),
    ContrastPhase.UNKNOWN: phrase("unknown phase"),
}
_PROBABLE_WORDS = {
    ContrastPhase.ARTERIAL: phrase("probably arterial phase"),
    ContrastPhase.PORTAL_VENOUS: phrase("probably portal venous phase"),
}

_Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class CorrectionEntry(BaseModel):
    """``[[contrast_correction]]`` of a site's file: what is subtracted for one equation in one phase.

    In mg/cm3 or in HU (times the slope of the equation), each with the residual SD between patients.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    equation: _Text
    phase: Literal[ContrastPhase.ARTERIAL, ContrastPhase.PORTAL_VENOUS]
    mg_cm3: float | None = None
    sd_mg_cm3: Annotated[float, Field(ge=0)] | None = None
    hu: float | None = None
    sd_hu: Annotated[float, Field(ge=0)] | None = None
    source: _Text
    approved_by: _Text
    approved_on: Annotated[dt.date, Strict()]

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        given = [value is not None for value in (self.mg_cm3, self.sd_mg_cm3, self.hu, self.sd_hu)]
        if given not in ([True, True, False, False], [False, False, True, True]):
            raise ValueError("a contrast correction needs mg_cm3 and sd_mg_cm3, or hu and sd_hu")
        return self

    def correction(self, slope: float) -> ContrastCorrection:
        """The correction in mg/cm3 for an equation with this slope."""
        in_hu = self.hu is not None
        amount, sd = (self.hu, self.sd_hu) if in_hu else (self.mg_cm3, self.sd_mg_cm3)
        factor = slope if in_hu else 1.0
        return ContrastCorrection(
            phase=self.phase,
            mg_cm3=(amount or 0.0) * factor,
            sd_mg_cm3=(sd or 0.0) * factor,
            source=self.source,
            approved_by=self.approved_by,
            approved_on=self.approved_on,
        )


@dataclass(frozen=True, slots=True)
class ContrastPolicy:
    """How a BMD is adjusted for contrast.

    Attributes:
        reason: caveat for the reader; ``None`` if there is no contrast, or the equation was made for it.
        correction: the site's own correction, subtracted from every BMD.
        lower_by_mg_cm3: how much the lower end of the interval is lowered.
    """

    reason: Reason | None = None
    correction: ContrastCorrection | None = None
    lower_by_mg_cm3: float = 0.0

    @property
    def taken_off_mg_cm3(self) -> float:
        """What is subtracted from every BMD."""
        return self.correction.mg_cm3 if self.correction is not None else 0.0

    def widened(self, interval_mg_cm3: tuple[float, float]) -> tuple[float, float]:
        """The interval of the reported mean, from that of the uncorrected mean.

        A correction shifts it, and its residual SD adds to the half width in quadrature (1.96 SD). Uncorrected contrast
        lowers the lower end only.
        """
        lower, upper = interval_mg_cm3
        if self.correction is None:
            return lower - self.lower_by_mg_cm3, upper
        middle = (lower + upper) / 2 - self.correction.mg_cm3
        half = math.hypot((upper - lower) / 2, _Z_95 * self.correction.sd_mg_cm3)
        return middle - half, middle + half

    def withheld(self, lower_mg_cm3: float, upper_mg_cm3: float) -> Reason | None:
        """Why there is no category: the interval crosses a threshold, and the effect of contrast is unknown."""
        if self.lower_by_mg_cm3 == 0.0:
            return None
        crosses = thresholds_crossed(lower_mg_cm3, upper_mg_cm3)
        if not crosses:
            return None
        said = phrase(
            "the interval {low:.0f} to {high:.0f} mg/cm3 crosses {threshold:.0f}, and contrast may have raised the value",
            low=lower_mg_cm3,
            high=upper_mg_cm3,
            threshold=crosses[0],
        )
        return Reason("category_withheld", said)


def contrast_policy(
    facts: SeriesFacts,
    calibration: Calibration,
    contrast: ContrastConclusion | None,
    corrections: Sequence[CorrectionEntry] = (),
) -> ContrastPolicy:
    """Decide what contrast means for a series that gets an equation.

    Args:
        facts: with the concluded phase.
        calibration: the chosen equation.
        contrast: the conclusion; ``None`` without an image, then only the header counts.
        corrections: the site's own.
    """
    if calibration.contrast_phase in _ENHANCED:
        return ContrastPolicy()  # made for this phase, or it would not have been chosen
    present: bool | None = facts.contrast_phase in _ENHANCED or bool(facts.contrast_bolus_agent)
    known_of = phrase("the header records a contrast agent")
    if contrast is not None:
        present, known_of = contrast.present, phrase("contrast, phase not known")
    if present is False:
        return ContrastPolicy()
    probable = contrast is not None and contrast.probable
    for entry in corrections:
        if not probable and entry.equation == calibration.id and entry.phase is facts.contrast_phase:
            return _corrected(entry.correction(calibration.slope))
    if present is None:
        detail = phrase("not known whether contrast was given; if so, BMD is overestimated by an unknown amount")
    elif facts.contrast_phase in _ENHANCED:
        words = _PROBABLE_WORDS if probable else _PHASE_WORDS
        detail = phrase("{phase}: BMD is overestimated by an unknown amount", phase=words[facts.contrast_phase])
    else:
        detail = phrase("{known_of}: BMD may be overestimated by an unknown amount", known_of=known_of)
    return ContrastPolicy(Reason("contrast", detail), None, CONTRAST_BIAS_MG_CM3)


def _corrected(correction: ContrastCorrection) -> ContrastPolicy:
    detail = phrase(
        "{phase}: {mg_cm3:.1f} mg/cm3 subtracted by the site's correction; residual SD between patients {sd_mg_cm3:.1f} "
        "mg/cm3 ({source}; approved by {approved_by} on {approved_on})",
        phase=_PHASE_WORDS[correction.phase],
        mg_cm3=correction.mg_cm3,
        sd_mg_cm3=correction.sd_mg_cm3,
        source=correction.source,
        approved_by=correction.approved_by,
        approved_on=correction.approved_on.isoformat(),
    )
    return ContrastPolicy(Reason("contrast_corrected", detail), correction)
