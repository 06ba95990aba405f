"""What is known about one patient at one time, as the cases that are decided on.

Pure: the values come from the stores (:mod:`node.alerts.service`). The same values give the cases of any earlier time, so
that a dry run can replay the past.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from node.alerts.rules.of_patient import Case
from node.alerts.rules.operation import operation_of_order, operation_of_plan
from node.alerts.values import Offer, Operation, ScreenedResult
from node.clinical.identity import Issuers, PatientIdentity
from node.clinical.imaging_order import OrderText
from node.clinical.matching import MatchedPatient, PatientMatch, match_patient
from node.clinical.planned_operation import OperationKey, PlannedOperation, PlanSource, PlanStatus, without_weaker
from node.language.phrase import phrase
from node.model import Reason
from node.settings.alert import AlertSettings

_OTHER_PATIENT = Reason("other_patient", phrase("the operation turned out to be another patient's"))


@dataclass(frozen=True, slots=True)
class KnownStudy:
    """A report of a study of the patient.

    Attributes:
        recorded_at: when the node recorded it.
        result: ``None`` if the run measured nothing.
    """

    recorded_at: dt.datetime
    study_instance_uid: str
    result: ScreenedResult | None
    order: OrderText
    identity: PatientIdentity


@dataclass(frozen=True, slots=True)
class KnownPatient:
    """Everything known about a patient, at all times.

    Attributes:
        studies: in the order in which they were recorded; a later report of a study replaces the earlier one.
        plans: for every operation that is, may be or was assumed to be the patient's: every revision, oldest first.
    """

    studies: tuple[KnownStudy, ...]
    plans: tuple[tuple[PlannedOperation, ...], ...]


def cases_at(
    patient: KnownPatient, when: dt.datetime, told: Collection[str], issuers: Issuers, settings: AlertSettings
) -> tuple[Case, ...]:
    """The cases of a patient as they were known at a time.

    An imaging order counts until a more trusted source has a spine operation that the order may mean, or until there is a
    later order.

    Args:
        told: ids of the operations that somebody was alerted to. They are cases even if they turn out to be another
            patient's; other operations of other patients are not.
    """
    studies = _studies_at(patient, when)
    plans = [plan for revisions in patient.plans if (plan := _revision_at(revisions, when)) is not None]
    concerned = {plan.key: operation_of_plan(plan, settings) for plan in plans}
    offers: dict[OperationKey, list[Offer]] = {plan.key: [] for plan in plans}
    weaker: set[OperationKey] = set()
    kept_orders: set[str] = set()
    for study in studies:
        certain = []
        for plan in plans:
            match = match_patient(plan.patient, study.identity, issuers)
            offers[plan.key] += _offers(study, match)
            if match.match is PatientMatch.SAME and concerned[plan.key].found is not None:
                certain.append(plan)
        order = _as_plan(study)
        known_better = without_weaker([*certain, order])
        weaker |= {plan.key for plan in certain} - {plan.key for plan in known_better}
        if order in known_better:
            kept_orders.add(study.study_instance_uid)
    cases = [
        Case(concerned[key], tuple(found))
        for key, found in offers.items()
        if key not in weaker and (concerned[key].id in told or _may_be_theirs(found))
    ]
    return (*cases, *_orders(studies, kept_orders, settings))


def _studies_at(patient: KnownPatient, when: dt.datetime) -> list[KnownStudy]:
    """The latest report of every study, except studies whose latest run measured nothing."""
    latest = {study.study_instance_uid: study for study in patient.studies if study.recorded_at <= when}
    return [study for study in latest.values() if study.result is not None]


def _revision_at(revisions: Sequence[PlannedOperation], when: dt.datetime) -> PlannedOperation | None:
    """What was known about an operation at a time; a late statement counts from its arrival."""
    known = [plan for plan in revisions if plan.received_at <= when]
    return known[-1] if known else None


def _offers(study: KnownStudy, match: MatchedPatient) -> list[Offer]:
    if study.result is None:
        return []
    if match.match is PatientMatch.OTHER:
        return [Offer(study.result, (_OTHER_PATIENT,))]
    return [Offer(study.result, match.doubts)]


def _may_be_theirs(offers: Sequence[Offer]) -> bool:
    return any(_OTHER_PATIENT not in offer.doubts for offer in offers)


def _ordered_on(study: KnownStudy) -> dt.date:
    made = study.result.acquisition_date if study.result is not None else None
    return made or study.recorded_at.date()


def _as_plan(study: KnownStudy) -> PlannedOperation:
    """The order of a study as a plan, to compare it with more trusted ones."""
    day = dt.datetime.combine(_ordered_on(study), dt.time(), tzinfo=dt.UTC)
    key = OperationKey(PlanSource.DICOM_ORDER, "", study.study_instance_uid)
    return PlannedOperation(key, PlanStatus.PLANNED, day, day, study.identity)


def _orders(studies: Sequence[KnownStudy], kept: set[str], settings: AlertSettings) -> list[Case]:
    """The orders that count: of two orders of one patient for an operation within ``days_ahead`` days, the later one."""
    orders: list[tuple[KnownStudy, Operation]] = []
    for study in studies:
        if study.study_instance_uid in kept:
            orders.append((study, operation_of_order(study.order, _ordered_on(study), settings)))
    cases = []
    for study, operation in orders:
        later = any(
            other.found is not None
            and operation.found is not None
            and (_ordered_on(other_study), other.id) > (_ordered_on(study), operation.id)
            and (_ordered_on(other_study) - _ordered_on(study)).days <= settings.days_ahead
            and _same_person(other_study.identity, study.identity)
            for other_study, other in orders
        )
        if not later:
            same = [one for one in studies if _same_person(one.identity, study.identity)]
            cases.append(Case(operation, tuple(Offer(one.result) for one in same if one.result is not None)))
    return cases


def _same_person(one: PatientIdentity, other: PatientIdentity) -> bool:
    """Whether two studies with one number also have the same issuer, name and birth date."""
    return replace(one, sex="") == replace(other, sex="")
