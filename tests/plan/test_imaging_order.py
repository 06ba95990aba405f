"""The order behind an image: the weakest source, with the same value as the others."""

from __future__ import annotations

from pydicom.dataset import Dataset

from node.patient_identity import PatientIdentifier
from node.plan.imaging_order import operation_of
from node.planned_operation import CodedProcedure, Participant, PlanSource, PlanStatus, Role
from tests.plan.operations import UTC, at


def coded(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def test_reads_the_order() -> None:
    ds, request = Dataset(), Dataset()
    ds.StudyInstanceUID, ds.StudyDate, ds.StudyTime = "1.2.3", "20300101", "0730"
    ds.PatientID, ds.IssuerOfPatientID = "4711", "KIS"
    ds.StudyDescription = "CT LWS"
    ds.ReferringPhysicianName = "Zuweiser^Ida"
    request.RequestedProcedureDescription = "CT LWS vor Spondylodese L4-S1"
    request.RequestedProcedureCodeSequence = [coded("24690-9", "LN", "CT Lumbar spine")]
    ds.RequestAttributesSequence = [request]
    operation = operation_of(ds, UTC, at(9))
    assert operation.key.source is PlanSource.DICOM_ORDER
    assert operation.key.operation_id == "1.2.3"
    assert (operation.status, operation.starts, operation.sent_at) == (PlanStatus.PLANNED, None, at(7, 30))
    assert operation.patient.identifiers == (PatientIdentifier("4711", "KIS"),)
    assert operation.procedures == (
        CodedProcedure("24690-9", "LN", "CT Lumbar spine"),
        CodedProcedure(text="CT LWS vor Spondylodese L4-S1"),
        CodedProcedure(text="CT LWS"),
    )
    assert operation.participants == (Participant(Role.OTHER, "Zuweiser^Ida"),)
    assert operation.levels == ("L4", "L5", "S1")


def test_a_header_with_nothing_but_a_uid_says_nothing_more() -> None:
    ds = Dataset()
    ds.StudyInstanceUID = "1.2.3"
    operation = operation_of(ds, UTC, at(9))
    assert (operation.procedures, operation.participants, operation.levels, operation.sent_at) == ((), (), (), at(9))
