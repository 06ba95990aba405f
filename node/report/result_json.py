"""The result as JSON: the interface for scripts and tests. Missing values are null, never 0."""

from __future__ import annotations

import dataclasses
import json
import math

from node.language.catalogue import Language
from node.model import (
    Bmd,
    LevelMeasurement,
    PriorComparison,
    Reason,
    SeriesFacts,
    SeriesLeftOut,
    StudyResult,
    Vector,
    VertebralBody,
)
from node.model.fractures import VertebralFracture, fractures_of
from node.model.rounding import finite, rounded, rounded_bmd, rounded_interval
from node.report.attenuation import hu_reference_of, low_despite_contrast, usual_at_age
from node.report.context import hu_reference, rank_text, usual_text
from node.report.paste import report_text
from node.report.wording import all_caveats, all_reasons, headline, is_severe, level_bmd, shown_change

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


#: Version of ``result.json``: increases when a key changes its meaning, not when keys are added. Files of node 0.1.0 have no
#: version and count as version 1.
RESULT_SCHEMA_VERSION = 1


def result_json(result: StudyResult, language: Language = Language.EN) -> str:
    """Serialise a result: positions in LPS mm, HU and mg/cm3 to 0.1, seconds to 0.01.

    Args:
        language: of ``report_text``, the lines to paste; everything else is in English.
    """
    return _text({"schema_version": RESULT_SCHEMA_VERSION} | _tree(result) | {"report_text": _pasted(result, language)})


def said_json(result: StudyResult) -> str:
    """The result without the schema version: report UIDs are derived from it."""
    return _text(_tree(result))


def _text(tree: dict[str, Json]) -> str:
    return json.dumps(tree, ensure_ascii=False, indent=2, allow_nan=False) + "\n"


def _tree(result: StudyResult) -> dict[str, Json]:
    bmd = result.bmd
    bodies = {body.level: body for body in result.bodies}
    return {
        "status": result.status,
        "headline": headline(result),
        "fractures": [_fracture(fracture) for fracture in fractures_of(result)],
        "reasons": [_reason(r) for r in all_reasons(result)],
        "series": None if result.facts is None else _series(result.facts),
        "why_this_series": result.why_this_series or None,
        "series_left_out": [_left_out(s) for s in result.series_left_out],
        "levels": [_level(level, bodies.get(level.level), bmd) for level in result.levels],
        "hu_mean": _short(result.hu_mean),
        "scan": {name: _short(value) for name, value in dataclasses.asdict(result.scan).items()},
        "bmd_mg_cm3": None if bmd.bmd_mg_cm3 is None else rounded_bmd(bmd.bmd_mg_cm3),
        "bmd_interval_mg_cm3": _interval(bmd),
        "category": None if bmd.category is None else bmd.category.value,
        "borderline": None if bmd.category is None else bmd.borderline,
        "thresholds_crossed_mg_cm3": list(bmd.thresholds_crossed_mg_cm3),
        "severe": None if bmd.category is None else is_severe(result),
        "hu_reference": _hu_reference(result),
        "low_despite_contrast": _low(result),
        "usual_at_age": _usual(result),
        "rank_in_hospital": _rank(result),
        "caveats": list(all_caveats(result)),
        "calibration": _calibration(bmd),
        "remarks": [_reason(remark) for remark in result.remarks],
        "prior": None if result.prior is None else _prior(result.prior),
        "timings_s": {room: rounded(seconds, 2) for room, seconds in result.timings_s},
        "software": {"version": result.software.version, "segmenter": result.software.segmenter},
    }


def _pasted(result: StudyResult, language: Language) -> dict[str, Json]:
    text = report_text(result, language)
    return {"language": language.value, "findings": text.findings, "impression": text.impression}


def _fracture(fracture: VertebralFracture) -> dict[str, Json]:
    return {"level": fracture.level.name, "grade": fracture.grade, "detail": fracture.finding}


def _usual(result: StudyResult) -> dict[str, Json] | None:
    usual = usual_at_age(result)
    if usual is None:
        return None
    return {
        "level": "L1",
        "hu_mean": usual.hu_mean,
        "usual_hu": usual.usual_hu,
        "usual_sd_hu": usual.usual_sd_hu,
        "source": usual.source,
        "detail": usual_text(result),
    }


def _rank(result: StudyResult) -> dict[str, Json] | None:
    if result.rank is None:
        return None
    return {"percentile": result.rank.percentile, "n_patients": result.rank.n_patients, "detail": rank_text(result)}


def _low(result: StudyResult) -> dict[str, Json] | None:
    low = low_despite_contrast(result)
    if low is None:
        return None
    return {
        "level": low.level.name,
        "hu_mean": low.hu_mean,
        "specific_hu": low.specific_hu,
        "source": low.source,
        "detail": hu_reference(result),
    }


def _short(value: float | None, digits: int = 1) -> float | None:
    value = finite(value)
    return None if value is None else rounded(value, digits)


def _interval(bmd: Bmd) -> list[Json] | None:
    """Rounded as everywhere, without crossing a threshold."""
    if bmd.interval_mg_cm3 is None or not all(math.isfinite(end) for end in bmd.interval_mg_cm3):
        return None
    return list(rounded_interval(bmd.interval_mg_cm3))


def _hu_reference(result: StudyResult) -> dict[str, Json] | None:
    reference = hu_reference_of(result)
    if reference is None:
        return None
    return {
        "level": "L1",
        "hu_mean": reference.hu_mean,
        "specific_hu": reference.specific_hu,
        "sensitive_hu": reference.sensitive_hu,
        "source": reference.source,
        "detail": hu_reference(result),
    }


def _vector(vector: Vector, digits: int) -> list[Json]:
    return [rounded(v, digits) for v in vector]


def _reason(reason: Reason) -> dict[str, Json]:
    return {"code": reason.code, "detail": reason.detail}


def _left_out(series: SeriesLeftOut) -> dict[str, Json]:
    return {"series_instance_uid": series.series_instance_uid, "code": series.code, "detail": series.detail}


def _series(facts: SeriesFacts) -> dict[str, Json]:
    return {
        "study_instance_uid": facts.study_instance_uid,
        "series_instance_uid": facts.series_instance_uid,
        "manufacturer": facts.manufacturer,
        "model": facts.manufacturer_model_name,
        "kvp": facts.kvp,
        "kernel": facts.convolution_kernel,
        "spacing_mm": _vector(facts.spacing_mm, 4),
        "orientation": facts.orientation.value,
        "contrast_phase": facts.contrast_phase.value,
    }


def _level(level: LevelMeasurement, body: VertebralBody | None, bmd: Bmd) -> dict[str, Json]:
    return {
        "level": level.level.name,
        "centroid_lps_mm": _vector(level.centroid_lps_mm, 2),
        "hu_mean": _short(level.hu_mean),
        "hu_sd": _short(level.hu_sd),
        "roi_volume_mm3": rounded(level.roi_volume_mm3),
        "bmd_mg_cm3": level_bmd(bmd, level.level),
        "usable": level.usable,
        "findings": [_reason(f) for f in level.findings],
        "confidence": None if body is None else _short(body.confidence, 3),
        "evidence": None if body is None else body.evidence,
    }


def _calibration(bmd: Bmd) -> dict[str, Json] | None:
    calibration = bmd.calibration
    if calibration is None:
        return None
    return {
        "id": calibration.id,
        "slope": calibration.slope,
        "intercept": calibration.intercept,
        "material": calibration.material,
        "source": calibration.source,
        "approved_by": calibration.approved_by,
        "approved_on": None if calibration.approved_on is None else calibration.approved_on.isoformat(),
        "slope_se": calibration.slope_se,
        "intercept_se": calibration.intercept_se,
        "contrast_correction": _contrast_correction(bmd),
    }


def _contrast_correction(bmd: Bmd) -> dict[str, Json] | None:
    correction = bmd.contrast_correction
    if correction is None:
        return None
    return {
        "phase": correction.phase.value,
        "taken_off_mg_cm3": _short(correction.mg_cm3),
        "sd_mg_cm3": _short(correction.sd_mg_cm3),
        "source": correction.source,
        "approved_by": correction.approved_by,
        "approved_on": correction.approved_on.isoformat(),
    }


def _prior(prior: PriorComparison) -> dict[str, Json]:
    def bmd(value_mg_cm3: float | None) -> float | None:
        return None if value_mg_cm3 is None else rounded_bmd(value_mg_cm3)

    return {
        "study_instance_uid": prior.study_instance_uid,
        "acquisition_date": prior.acquisition_date.isoformat(),
        "days_before": prior.days_before,
        "levels": [level.name for level in prior.levels],
        "hu_mean": _short(prior.hu_mean),
        "prior_hu_mean": _short(prior.prior_hu_mean),
        "bmd_mg_cm3": bmd(prior.bmd_mg_cm3),
        "prior_bmd_mg_cm3": bmd(prior.prior_bmd_mg_cm3),
        "change_mg_cm3": shown_change(prior),
        "change_percent": _short(prior.change_percent),
        "lsc_percent": _short(prior.lsc_percent),
        "within_lsc": prior.within_lsc,
        "not_comparable": [_reason(reason) for reason in prior.not_comparable],
    }
