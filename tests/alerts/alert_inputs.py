"""Results, orders and settings as small as the alert room needs them."""

from __future__ import annotations

import datetime as dt

from node.alerts import Alert, ChannelsOn, Message, Offer, decide, message_for, operation_of_order, screened
from node.clinical.identity import PatientIdentifier, PatientIdentity
from node.clinical.imaging_order import OrderText
from node.language.catalogue import Language
from node.model import (
    AcrCategory,
    Bmd,
    Calibration,
    ContrastPhase,
    Level,
    LevelMeasurement,
    Orientation,
    Reason,
    SeriesFacts,
    Software,
    StudyResult,
)
from node.settings.alert import AlertSettings

STUDY = "1.2.276.0.7230010.3.1.2.4711"
CALIBRATION = Calibration("test", 0.7, 5.0, "HA", "made up for a test")
FINDING = Reason("fracture", "height loss of 31 %")
NOW = dt.datetime(2026, 1, 10, 12, tzinfo=dt.UTC)
PATIENT = PatientIdentity(
    (PatientIdentifier("PID-998877", "KIS"),), ("Musterfrau-Grün^Erika^Maria^Dr.",), dt.date(1948, 3, 2), "F"
)


def settings(**changes: object) -> AlertSettings:
    """A site with one recipient and no rule for fractures; nothing is switched on."""
    values: dict[str, object] = {
        "fracture": False,
        "sender": "bmd@hospital.example",
        "recipients": ("surgeon@hospital.example",),
        **changes,
    }
    return AlertSettings.model_validate(values)


def order(text: str | None = "CT LWS vor PLIF L4/5", **changes: str | tuple[str, ...] | None) -> OrderText:
    """An order whose study description is ``text``."""
    values: dict[str, str | tuple[str, ...] | None] = {"study_description": text, "accession_number": "A-4711", **changes}
    return OrderText(STUDY, **values)  # type: ignore[arg-type]


def category_of(bmd_mg_cm3: float) -> AcrCategory:
    """ACR: < 80, 80 to 120 inclusive, > 120 mg/cm3."""
    if bmd_mg_cm3 < 80:
        return AcrCategory.OSTEOPOROSIS
    return AcrCategory.LOW_BONE_MASS if bmd_mg_cm3 <= 120 else AcrCategory.NORMAL


def bmd_of(bmd_mg_cm3: float) -> Bmd:
    """A calibrated result; L3 is not usable, and its BMD is far from the others."""
    levels = ((Level.L1, bmd_mg_cm3 - 3), (Level.L2, bmd_mg_cm3 + 3), (Level.L3, 199.0), (Level.L4, bmd_mg_cm3))
    interval = (bmd_mg_cm3 - 8, bmd_mg_cm3 + 8)
    doubt = Reason("contrast", "the header records a contrast agent: BMD may read too high")
    return Bmd(CALIBRATION, levels, bmd_mg_cm3, interval, category_of(bmd_mg_cm3), (doubt,))


def result(bmd: Bmd | float = 74.2, *, status: str = "measured", study: str = STUDY) -> StudyResult:
    """A result with L1, L2 and L4 usable and L3 fractured."""
    facts = SeriesFacts(
        study,
        "1.2.3.4",
        None,
        "Philips",
        "Brilliance 64",
        120.0,
        "B",
        2.0,
        (0.5, 0.5, 2.0),
        Orientation.AXIAL,
        contrast_phase=ContrastPhase.UNKNOWN,
    )
    levels = tuple(
        LevelMeasurement(level, (0.0, 0.0, 0.0), 100.0, 10.0, 900.0, level is not Level.L3, findings)
        for level, findings in ((Level.L1, ()), (Level.L2, ()), (Level.L3, (FINDING,)), (Level.L4, ()))
    )
    return StudyResult(
        status=status,  # type: ignore[arg-type]
        reasons=(Reason("level_not_certain", "the names of the levels are in doubt"),),
        facts=facts,
        why_this_series="thin",
        series_left_out=(),
        bodies=(),
        levels=levels,
        hu_mean=100.0,
        bmd=bmd if isinstance(bmd, Bmd) else bmd_of(bmd),
        timings_s=(),
        software=Software("0", "test"),
    )


def decided(found: StudyResult, ordered: OrderText, chosen: AlertSettings) -> tuple[Alert, ...] | Reason:
    """The first alerts on an operation that only the imaging order tells of; or why there are none."""
    operation = operation_of_order(ordered, NOW.date(), chosen)
    offers = [Offer(screened("run-1", found, ordered))]
    actions = decide(operation, offers, (), chosen, ChannelsOn(mail=True), NOW)
    return tuple(action.alert for action in actions if action.alert is not None) or actions[0].reason


def alert_of(
    found: StudyResult | None = None, ordered: OrderText | None = None, chosen: AlertSettings | None = None
) -> Alert:
    """The one alert of these; a low BMD and a planned PLIF if nothing else is said."""
    alerts = decided(found or result(), ordered or order(), chosen or settings())
    assert isinstance(alerts, tuple), alerts
    return alerts[0]


#: What the headers say beside: free text.
ASKED = {
    "requesting_physician": "Dr. Ida Zuweiser",
    "requested_procedure_description": "CT LWS vor PLIF L4/5, Frau Musterfrau",
}


def message(
    alert: Alert,
    chosen: AlertSettings | None = None,
    language: Language = Language.EN,
    ordered: OrderText | None = None,
) -> Message:
    """What a person reads of an alert."""
    return message_for(alert, chosen or settings(), language, order=ordered or order(**ASKED))
