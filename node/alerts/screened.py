"""The part of a result that alerts need, and whether it passed the quality rules."""

from __future__ import annotations

import math

from node.alerts.values import LevelValue, ScreenedResult
from node.clinical.imaging_order import OrderText
from node.language.phrase import Phrase, joined, phrase
from node.model import ContrastPhase, Reason, StudyResult

_FRACTURE = "fracture"
_CONTRAST_UNKNOWN = Reason("contrast_phase_unknown", phrase("contrast phase unknown; contrast medium raises measured BMD"))


def screened(run_id: str, result: StudyResult, order: OrderText) -> ScreenedResult:
    """The part of a result that alerts use.

    Args:
        run_id: of the report.
        order: what the headers of the same study say; only its accession number is used.
    """
    bmd = result.bmd
    value = bmd.bmd_mg_cm3 if bmd.calibration is not None else None
    of_level = dict(bmd.level_bmd_mg_cm3)
    doubts = [reason for reason in dict.fromkeys(result.reasons + bmd.reasons) if reason.code != _FRACTURE]
    if result.facts is not None and result.facts.contrast_phase is ContrastPhase.UNKNOWN:
        doubts.append(_CONTRAST_UNKNOWN)
    return ScreenedResult(
        run_id=run_id,
        study_instance_uid=order.study_instance_uid,
        accession_number=one_line(order.accession_number) or None,
        acquisition_date=result.facts.acquisition_date if result.facts is not None else None,
        refused=_refused(result, order),
        hu_mean=result.hu_mean,
        bmd_mg_cm3=value if value is not None and math.isfinite(value) else None,
        interval_mg_cm3=bmd.interval_mg_cm3,
        category=bmd.category,
        borderline=bmd.borderline,
        calibration_id=bmd.calibration.id if bmd.calibration is not None else None,
        levels=tuple(
            LevelValue(one.level, one.hu_mean, _finite(of_level.get(one.level)), one.usable, one.findings)
            for one in result.levels
        ),
        fractures=_fractures(result),
        doubts=tuple(doubts),
    )


def one_line(text: str | None) -> str:
    """The text without characters that could end a header line or add lines to a text; empty for ``None``."""
    return " ".join("".join(c if c.isprintable() else " " for c in text or "").split())


def _refused(result: StudyResult, order: OrderText) -> Reason | None:
    if result.status != "measured" or result.facts is None:
        return Reason("not_measured", phrase("the study was not measured"))
    if result.facts.study_instance_uid != order.study_instance_uid:
        return Reason("other_study", phrase("the result and the order are of different studies: no alert"))
    if result.bmd.calibration is not None and result.bmd.category is None:
        return Reason("category_withheld", phrase("the ACR category was withheld: the BMD is too uncertain for an alert"))
    return None


def _fractures(result: StudyResult) -> Reason | None:
    seen = next((reason for reason in result.reasons if reason.code == _FRACTURE), None)
    if seen is not None:
        return seen
    named = [
        joined((level.level.name, finding.detail), " ")
        for level in result.levels
        for finding in level.findings
        if finding.code == _FRACTURE
    ]
    return Reason(_FRACTURE, Phrase("{each}", {"each": joined(named, "; ")})) if named else None


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
