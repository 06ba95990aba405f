"""Scheduling messages, built by another library (hl7apy) in every version, become planned operations."""

from __future__ import annotations

import datetime as dt

import pytest
from hl7apy.core import Message

from benchmarks.plan_messages import message_text
from node.clinical.identity import PatientIdentifier, PatientIdentity
from node.clinical.planned_operation import CodedProcedure, OperationKey, Participant, PlanSource, PlanStatus, Role
from node.plans.hl7_message import Hl7Code, RefusedMessageError, read_message
from node.plans.siu import Statement, statement_of
from node.settings.plans import PlanHl7Settings, PlanSettings

BERLIN = PlanSettings(time_zone="Europe/Berlin")
NOW = dt.datetime(2026, 9, 2, tzinfo=dt.UTC)
UMLAUTS = "Müller^Anna^Maria^jun.^Dr."


def read(text: str | bytes, received_at: dt.datetime = NOW) -> Statement:
    content = text if isinstance(text, bytes) else text.encode()
    return statement_of(read_message(content, "utf-8"), BERLIN, PlanHl7Settings(), received_at)


def built(version: str, event: str = "S12") -> Message:
    """A message with all that is read, as hl7apy builds it."""
    message = Message("SIU_S12", version=version)
    message.msh.msh_3, message.msh.msh_4 = "KIS", "SUED"
    message.msh.msh_7, message.msh.msh_10, message.msh.msh_11 = "20260901073000", "C1", "P"
    message.msh.msh_9 = f"SIU^{event}^SIU_S12" if version != "2.3" else f"SIU^{event}"
    message.sch.sch_1, message.sch.sch_2 = "P1", "A1^KIS"
    message.sch.sch_7 = "^V.a. Pseudarthrose"
    if version < "2.7":
        message.sch.sch_11 = "^^^20300120080000^20300120110000"
    else:
        message.add_segment("TQ1").tq1_7 = "20300120080000"
    patient = message.add_group("SIU_S12_PATIENT")
    patient.pid.pid_3 = "4711^^^KIS&1.2.276.0.76.3&ISO^PI~880012^^^SUED^VN"
    patient.pid.pid_5, patient.pid.pid_7, patient.pid.pid_8 = UMLAUTS, "19500401", "F"
    resources = message.add_group("SIU_S12_RESOURCES")
    resources.rgs.rgs_1 = "1"
    service = resources.add_group("SIU_S12_SERVICE")
    service.ais.ais_1, service.ais.ais_3 = "1", "5-836.40^Dorsale Spondylodese L4-S1 \\T\\ TLIF^OPS"
    service.add_segment("NTE").nte_3 = "Cage L5/S1"
    person = resources.add_group("SIU_S12_PERSONNEL_RESOURCE")
    person.aip.aip_1, person.aip.aip_3, person.aip.aip_4 = "1", "17^Schraube^Petra^^^Prof.^^^KIS", "Operateur"
    other = resources.add_group("SIU_S12_PERSONNEL_RESOURCE")
    other.aip.aip_1, other.aip.aip_3, other.aip.aip_4 = "2", "18^Schlaf^Otto^^^^^^KIS", "Anästhesie"
    place = resources.add_group("SIU_S12_LOCATION_RESOURCE")
    place.ail.ail_1, place.ail.ail_3 = "1", "ZOP^3"
    return message


@pytest.mark.parametrize("version", ["2.3", "2.3.1", "2.4", "2.5", "2.5.1", "2.6", "2.7", "2.8", "2.8.2"])
def test_reads_what_another_library_writes(version: str) -> None:
    operation = read(built(version).to_er7()).operation
    assert operation.key == OperationKey(PlanSource.HL7_SIU, "SUED/KIS", "A1^KIS")
    assert operation.status is PlanStatus.PLANNED
    assert operation.sent_at == dt.datetime(2026, 9, 1, 5, 30, tzinfo=dt.UTC)  # summer time in Berlin
    assert operation.starts == dt.datetime(2030, 1, 20, 7, tzinfo=dt.UTC)  # winter time
    assert operation.time_known
    assert operation.patient == PatientIdentity(
        (PatientIdentifier("4711", "KIS", "1.2.276.0.76.3"),), ("Müller^Anna^Maria^Dr.^jun.",), dt.date(1950, 4, 1), "F"
    )
    assert operation.procedures == (
        CodedProcedure("5-836.40", "OPS", "Dorsale Spondylodese L4-S1 & TLIF"),
        CodedProcedure(text="Cage L5/S1"),
        CodedProcedure(text="V.a. Pseudarthrose"),
    )
    assert operation.levels == ("L4", "L5", "S1")
    assert operation.participants == (
        Participant(Role.SURGEON, "Schraube^Petra^^Prof.", "17", "KIS"),
        Participant(Role.OTHER, "Schlaf^Otto", "18", "KIS"),
    )
    assert operation.place == "ZOP 3"


@pytest.mark.parametrize(
    ("event", "status", "keeps_status"),
    [
        ("S12", PlanStatus.PLANNED, False),
        ("S13", PlanStatus.MOVED, False),
        ("S14", PlanStatus.PLANNED, True),
        ("S15", PlanStatus.CANCELLED, False),
        ("S17", PlanStatus.CANCELLED, False),
        ("S26", PlanStatus.NO_SHOW, False),
    ],
)
def test_events(event: str, status: PlanStatus, keeps_status: bool) -> None:
    said = read(message_text(1, event))
    assert (said.operation.status, said.keeps_status) == (status, keeps_status)


@pytest.mark.parametrize(
    ("event", "filler_status", "status", "keeps_status"),
    [
        ("S14", "Cancelled", PlanStatus.CANCELLED, False),
        ("S14", "Complete", PlanStatus.DONE, False),
        ("S14", "Booked", PlanStatus.PLANNED, False),
        ("S14", "made up", PlanStatus.PLANNED, True),
        ("S12", "Deleted", PlanStatus.CANCELLED, False),
    ],
)
def test_the_filler_status_overrules_the_event(
    event: str, filler_status: str, status: PlanStatus, keeps_status: bool
) -> None:
    said = read(message_text(1, event, SCH="SCH||A1|||||||||^^^20300120080000" + "|" * 14 + filler_status))
    assert (said.operation.status, said.keeps_status) == (status, keeps_status)


def test_a_cancellation_needs_no_more_than_its_number() -> None:
    bare = dict.fromkeys(("PID", "RGS", "AIS", "AIP", "AIL"), "")
    operation = read(message_text(1, "S15", SCH="SCH||A1^KIS", **bare)).operation
    assert operation.status is PlanStatus.CANCELLED
    assert (operation.starts, operation.patient, operation.procedures) == (None, PatientIdentity(), ())


@pytest.mark.parametrize(
    ("charset", "encoding", "default"),
    [
        ("8859/1", "latin-1", "utf-8"),
        ("UNICODE UTF-8", "utf-8", "ascii"),
        ("8859/15~UNICODE UTF-8", "iso-8859-15", "utf-8"),
        ("", "utf-8", "utf-8"),
        ("", "cp1252", "cp1252"),
    ],
)
def test_character_sets(charset: str, encoding: str, default: str) -> None:
    content = message_text(1, charset=charset).encode(encoding)
    said = statement_of(read_message(content, default), BERLIN, PlanHl7Settings(), NOW)
    assert said.operation.patient.names == ("Müller^Anna",)


def test_escapes() -> None:
    pid = r"PID|1||4711^^^KIS||M\XC3BC\ller\S\x^An\F\na\.br\\.sp99999999999\\Zfoo\\H\\E\ "
    operation = read(message_text(1, PID=pid)).operation
    assert operation.patient.names == ("Müller x^An|na\n\n\\",)


def test_null_values_say_nothing() -> None:
    operation = read(message_text(1, AIL='AIL|1|A|""', PID='PID|1||4711^^^KIS||""||""|""')).operation
    assert (operation.place, operation.patient.names, operation.patient.birth_date, operation.patient.sex) == (
        "",
        (),
        None,
        "",
    )


def test_other_delimiters_and_line_feeds() -> None:
    text = message_text(1).translate(str.maketrans("|^~\\&", "#*!?%")).replace("\r", "\r\n")
    assert read(text).operation.levels == ("L4", "L5")


def test_the_time_stands_where_the_version_has_it() -> None:
    tq1 = read(message_text(1, SCH="SCH||A1", RGS="TQ1|1||||||203001200900|")).operation
    assert tq1.starts == dt.datetime(2030, 1, 20, 8, tzinfo=dt.UTC)
    ais = read(message_text(1, SCH="SCH||A1", AIS="AIS|1|A|5-836^PLIF^OPS|20300121")).operation
    assert (ais.starts, ais.time_known) == (dt.datetime(2030, 1, 20, 23, tzinfo=dt.UTC), False)


@pytest.mark.parametrize(
    ("written", "sent_at"),
    [
        ("20260901120000", dt.datetime(2026, 9, 1, 10, tzinfo=dt.UTC)),
        ("20260901120000-0500", dt.datetime(2026, 9, 1, 17, tzinfo=dt.UTC)),
        ("20251026023000", NOW),  # comes twice in this night
        ("20251026023000+0100", dt.datetime(2025, 10, 26, 1, 30, tzinfo=dt.UTC)),
        ("20260901", NOW),
        ("", NOW),
        ("20990101120000", NOW),  # a clock that runs ahead must not make all that follows too old
    ],
)
def test_when_a_message_was_sent(written: str, sent_at: dt.datetime) -> None:
    text = message_text(1, MSH=f"MSH|^~\\&|KIS|SUED|||{written}||SIU^S12|C1|P|2.5")
    assert read(text).operation.sent_at == sent_at


def test_a_resource_that_is_taken_away_is_not_there() -> None:
    text = message_text(1, AIP="AIP|1|D|17^Schraube^Petra||", AIS="AIS|1|D|5-836^PLIF^OPS\rNTE|1||L3-L5")
    assert (read(text).operation.participants, read(text).operation.levels) == ((), ())


MSH = "MSH|^~\\&|KIS|SUED|||20260901||{}|C1|{}|{}"


@pytest.mark.parametrize(
    ("changes", "code", "location", "is_rejected"),
    [
        ({"MSH": MSH.format("ORU^R01", "P", "2.5")}, Hl7Code.UNSUPPORTED_MESSAGE_TYPE, "MSH-9", True),
        ({"MSH": MSH.format("SIU^S23", "P", "2.5")}, Hl7Code.UNSUPPORTED_EVENT, "MSH-9", True),
        ({"MSH": MSH.format("SIU^S12", "T", "2.5")}, Hl7Code.UNSUPPORTED_PROCESSING_ID, "MSH-11", True),
        ({"MSH": MSH.format("SIU^S12", "P", "2.2")}, Hl7Code.UNSUPPORTED_VERSION, "MSH-12", True),
        ({"MSH": "MSH|^^^^|KIS|SUED|||20260901||SIU^S12|C1|P|2.5"}, Hl7Code.SEGMENT_SEQUENCE, "MSH", False),
        ({"MSH": "MSHX^~\\&XKISXSUEDXXX20260901XXSIU^S12XC1XPX2.5"}, Hl7Code.SEGMENT_SEQUENCE, "MSH-2", False),
        ({"SCH": "SCH|"}, Hl7Code.REQUIRED_FIELD_MISSING, "SCH-2", False),
        ({"SCH": "SCH||" + "A" * 401}, Hl7Code.DATA_TYPE, "SCH-2", False),
        ({"SCH": "SCH||A1|||||||||^^^203001202500"}, Hl7Code.DATA_TYPE, "SCH-11", False),
        ({"SCH": "SCH||A1|||||||||^^^2030"}, Hl7Code.DATA_TYPE, "SCH-11", False),
        ({"SCH": "SCH||A1", "AIS": ""}, Hl7Code.REQUIRED_FIELD_MISSING, "SCH-11", False),
        ({"PID": "PID|1||" + "4" * 401}, Hl7Code.DATA_TYPE, "PID-3", False),
        ({"PID": "PID|1||880012^^^KIS^VN"}, Hl7Code.REQUIRED_FIELD_MISSING, "PID-3", False),
        ({"RGS": "PID|2||1"}, Hl7Code.SEGMENT_SEQUENCE, "PID", False),
    ],
)
def test_refuses(changes: dict[str, str], code: str, location: str, is_rejected: bool) -> None:
    with pytest.raises(RefusedMessageError) as refused:
        read(message_text(1, **changes))
    assert (refused.value.code, refused.value.location, refused.value.is_rejected) == (code, location, is_rejected)
