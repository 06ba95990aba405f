"""Comparison of a result with an earlier one of the same patient: the change, or why the two cannot be compared.

Serial values are never compared across scanners, tube voltages or phases: equations, kernels and contrast change them by
more than bone does. The remaining difference between two studies is that between two sessions on the same scanner. Its least
significant change is 13.0 % (2.77 x RMS-CV of 4.7 % between sessions, automated vBMD; Eur Radiol Exp 2024).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from node.calibrate import kernel_class
from node.calibrate.equation import plain
from node.language.phrase import phrase
from node.model import ContrastPhase, Level, PatientRank, PriorComparison, Reason, StudyResult
from node.records.prior_results import DatedResult, LevelValue, UsedEquation

#: 2.77 x 4.7 %. The value between kernels of one class (1.3 %) is smaller and not added: no source adds it.
LSC_PERCENT = 13.0
#: With fewer other patients a percentile says little: at 200, that of the median is certain to about 7 (an assumption).
LEAST_OTHERS = 200


def dated_result(result: StudyResult) -> DatedResult | None:
    """Return the parts of a result that can be compared; ``None`` if nothing was measured or the CT has no date."""
    facts = result.facts
    if result.status != "measured" or facts is None or facts.acquisition_date is None:
        return None
    bmd, calibration = dict(result.bmd.level_bmd_mg_cm3), result.bmd.calibration
    levels = tuple(
        LevelValue(level.level, level.hu_mean, bmd.get(level.level))
        for level in result.levels
        if level.usable and level.hu_mean is not None
    )
    if not levels:
        return None
    return DatedResult(
        study_instance_uid=facts.study_instance_uid,
        acquisition_date=facts.acquisition_date,
        manufacturer=facts.manufacturer,
        manufacturer_model_name=facts.manufacturer_model_name,
        device_serial_number=facts.device_serial_number,
        station_name=facts.station_name,
        kvp=facts.kvp,
        convolution_kernel=facts.convolution_kernel,
        contrast_phase=facts.contrast_phase,
        levels=levels,
        patient_age_years=facts.patient_age_years if facts.age_doubt is None else None,
        patient_sex=facts.patient_sex,
        equation=None
        if calibration is None
        else UsedEquation(calibration.id, calibration.slope, calibration.intercept, calibration.material),
    )


def compare_with_prior(now: DatedResult, of_patient: Iterable[DatedResult]) -> PriorComparison | None:
    """Compare with the latest comparable earlier result. If there is none, return the latest one with the reasons why not.

    The acquisition date decides which result is earlier, not the order of arrival. The same study is not a prior, nor is
    another study of the same day.
    """
    earlier = [
        result
        for result in of_patient
        if result.study_instance_uid != now.study_instance_uid and result.acquisition_date < now.acquisition_date
    ]
    earlier.sort(key=lambda result: (result.acquisition_date, result.study_instance_uid), reverse=True)
    comparisons = [compare(now, result) for result in earlier]
    return next((one for one in comparisons if not one.not_comparable), comparisons[0] if comparisons else None)


def rank_among(now: DatedResult, others_hu: Sequence[float]) -> PatientRank | None:
    """Return the place of a patient's L1 among that of others.

    Args:
        others_hu: of :meth:`node.records.prior_results.PriorRecords.similar_patients`, one value per patient.

    Returns:
        ``None`` if L1 is not usable, or there are too few others.
    """
    hu = now.l1_hu
    if hu is None or now.kvp is None or len(others_hu) < LEAST_OTHERS:
        return None
    # as many of those with the same value count as lower as count as higher
    lower = sum((other < hu) + 0.5 * (other == hu) for other in others_hu)
    percentile = round(100.0 * lower / len(others_hu))
    return PatientRank(min(max(percentile, 1), 99), len(others_hu), now.kvp)


def compare(now: DatedResult, before: DatedResult) -> PriorComparison:
    """Compare two results of one patient, over the levels usable in both."""
    common = {level.level for level in now.levels} & {level.level for level in before.levels}
    reasons = [reason for check in _CHECKS if (reason := check(now, before))]
    if not common:
        reasons.append(Reason("no_common_level", phrase("no level is usable in both")))
    hu_mean, bmd = _means(now, common)
    prior_hu_mean, prior_bmd = _means(before, common)
    change = change_percent = None
    if not reasons and bmd is not None and prior_bmd is not None:
        change = bmd - prior_bmd
        if prior_bmd > 0:
            change_percent = 100.0 * change / prior_bmd
        else:
            reasons.append(Reason("prior_not_positive", phrase("the earlier BMD is not above 0, so there is no percentage")))
            change = None
    return PriorComparison(
        study_instance_uid=before.study_instance_uid,
        acquisition_date=before.acquisition_date,
        days_before=(now.acquisition_date - before.acquisition_date).days,
        levels=tuple(level.level for level in now.levels if level.level in common),
        hu_mean=hu_mean,
        prior_hu_mean=prior_hu_mean,
        bmd_mg_cm3=bmd,
        prior_bmd_mg_cm3=prior_bmd,
        change_mg_cm3=change,
        change_percent=change_percent,
        lsc_percent=None if change_percent is None else LSC_PERCENT,
        not_comparable=tuple(reasons),
    )


def _means(result: DatedResult, common: set[Level]) -> tuple[float, float | None]:
    """Return mean HU and BMD over the common levels, or over all usable levels if there are none in common."""
    levels = [level for level in result.levels if level.level in common] or list(result.levels)
    bmd = [level.bmd_mg_cm3 for level in levels if level.bmd_mg_cm3 is not None]
    return _mean([level.hu_mean for level in levels]), _mean(bmd) if len(bmd) == len(levels) else None


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _scanner(now: DatedResult, before: DatedResult) -> Reason | None:
    named = [(plain(one.manufacturer), plain(one.manufacturer_model_name)) for one in (now, before)]
    serial = [plain(one.device_serial_number) for one in (now, before)]
    station = [plain(one.station_name) for one in (now, before)]
    if named[0] != named[1] or (all(serial) and serial[0] != serial[1]):
        return Reason("different_scanner", phrase("different scanner"))
    if all(named[0]) and all(serial):
        return None
    if all(station) and station[0] != station[1]:
        return Reason("different_scanner", phrase("different scanner"))
    if all(named[0]) and all(station) and not any(serial):
        return None
    return Reason("scanner_not_known", phrase("the headers do not say whether it was the same scanner"))


def _kvp(now: DatedResult, before: DatedResult) -> Reason | None:
    if now.kvp is None or before.kvp is None:
        return Reason("kvp_not_known", phrase("tube voltage not known"))
    return None if now.kvp == before.kvp else Reason("different_kvp", phrase("different tube voltage"))


def _phase(now: DatedResult, before: DatedResult) -> Reason | None:
    if ContrastPhase.UNKNOWN in (now.contrast_phase, before.contrast_phase):
        return Reason("phase_not_known", phrase("contrast phase not known"))
    same = now.contrast_phase is before.contrast_phase
    return None if same else Reason("different_phase", phrase("different contrast phase"))


def _kernel(now: DatedResult, before: DatedResult) -> Reason | None:
    known = [kernel_class(one.manufacturer, one.convolution_kernel) for one in (now, before)]
    names = [plain(one.convolution_kernel) for one in (now, before)]
    if all(names) and (names[0] == names[1] or (known[0] is not None and known[0] is known[1])):
        return None
    if None in known:
        return Reason("kernel_not_known", phrase("kernel class not known"))
    return Reason("different_kernel", phrase("different kernel class"))


def _equation(now: DatedResult, before: DatedResult) -> Reason | None:
    if now.equation is None or before.equation is None:
        return Reason("no_bmd", phrase("one or both have no BMD"))
    if now.equation.material != before.equation.material:
        return Reason("different_material", phrase("different reference material"))
    return None if now.equation == before.equation else Reason("different_equation", phrase("different equation"))


_CHECKS: tuple[Callable[[DatedResult, DatedResult], Reason | None], ...] = (_scanner, _kvp, _phase, _kernel, _equation)
