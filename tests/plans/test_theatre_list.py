"""Theatre lists as people write them: several alphabets of Excel, lines that are wrong, lines that vanish."""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path

import pytest

from node.clinical.identity import PatientIdentifier, PatientIdentity
from node.clinical.planned_operation import CodedProcedure, Participant, PlanStatus, Role
from node.common.errors import ConfigurationError, InputError
from node.plans.list_folder import ListFolder
from node.plans.theatre_list import read_list
from node.records.plan_refusals import PlanRefusals
from node.records.planned_operations import PlannedOperations
from node.settings.plans import PlanListSettings, PlanSettings
from node.settings.tree import Settings
from tests.plans.operations import at

GERMAN = PlanListSettings(
    operation_id="OP-Nr",
    date="Datum",
    time="Zeit",
    patient_id="PatID",
    issuer="KIS",
    family_name="Name",
    given_name="",
    birth_date="Geb.",
    sex="m/w",
    procedure_code="OPS",
    coding_system="OPS",
    procedure="Eingriff",
    surgeon="Operateur",
    place="Saal",
    cancelled="abgesetzt",
)
HEAD = "OP-Nr;Datum;Zeit;PatID;Name;Geb.;m/w;OPS;Eingriff;Operateur;Saal;abgesetzt"
LINE = '1;20.01.2030;08:00;4711;"Müller, Anna";01.04.1950;w;5-836;"PLIF L4/5; mit Cage";Dr. Schraube;OP 3;'
OTHER = "2;20.01.2030;;4712;Weiß, Jörg;02.05.1960;m;5-839;TLIF L5/S1;Dr. Schraube;OP 3;nein"
BERLIN = PlanSettings(time_zone="Europe/Berlin").zone


def text(*lines: str) -> str:
    return "\r\n".join([HEAD, *lines]) + "\r\n"


def test_reads_a_line() -> None:
    listed = read_list(text(LINE, OTHER).encode(), GERMAN, BERLIN, at(7), at(8))
    first, second = (one.operation for one in listed.operations)
    assert first.status is PlanStatus.PLANNED
    assert (first.starts, first.time_known) == (dt.datetime(2030, 1, 20, 7, tzinfo=dt.UTC), True)
    assert first.patient == PatientIdentity((PatientIdentifier("4711", "KIS"),), ("Müller^Anna",), dt.date(1950, 4, 1), "F")
    assert first.procedures == (CodedProcedure("5-836", "OPS", "PLIF L4/5; mit Cage"),)
    assert first.participants == (Participant(Role.SURGEON, "Dr. Schraube"),)
    assert (first.place, first.levels) == ("OP 3", ("L4", "L5"))
    assert (second.starts, second.time_known) == (dt.datetime(2030, 1, 19, 23, tzinfo=dt.UTC), False)
    assert listed.days == {dt.date(2030, 1, 20)}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16"])
def test_character_sets(encoding: str) -> None:
    settings = GERMAN.model_copy(update={"encoding": "utf-8-sig" if encoding == "utf-8" else encoding})
    listed = read_list(text(LINE).encode(encoding), settings, BERLIN, at(7), at(8))
    assert listed.operations[0].operation.patient.names == ("Müller^Anna",)


def test_another_country() -> None:
    settings = PlanListSettings(delimiter=",", date_format="%m/%d/%Y", time_format="%I:%M %p")
    content = (
        "operation_id,date,time,patient_id,family_name,given_name,birth_date,procedure,surgeon\n"
        "7,01/20/2030,02:30 PM,55,Miller,Ann,04/01/1950,L4-S1 fusion,Smith\n"
    )
    (one,) = read_list(content.encode(), settings, dt.UTC, at(7), at(8)).operations
    assert one.operation.starts == at(14, 30, day=20)
    assert one.operation.patient.names == ("Miller^Ann",)


def test_a_wrong_line_is_named_and_the_others_are_taken() -> None:
    lines = [
        LINE,
        LINE.replace("20.01.2030", "2030-01-20").replace("1;", "3;", 1),
        LINE.replace("08:00", "8 Uhr").replace("1;", "4;", 1),
        LINE.replace("4711", "").replace("1;", "5;", 1),
        "6;20.01.2030",
        LINE,
        "",
        OTHER,
    ]
    listed = read_list(text(*lines).encode(), GERMAN, BERLIN, at(7), at(8))
    assert [one.operation.key.operation_id for one in listed.operations] == ["1", "2"]
    assert [(line.number, line.why) for line in listed.bad_lines] == [
        (3, "column Datum does not have the format %d.%m.%Y"),
        (4, "column Zeit does not have the format %H:%M"),
        (5, "column PatID is empty, too long, or has unprintable characters"),
        (6, "it has 2 columns instead of 12"),
        (7, "the operation number is also in an earlier line"),
    ]
    assert not any("Müller" in line.why or "Müller" in repr(line) for line in listed.bad_lines)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (text(LINE).encode("cp1252"), "plans_list.encoding"),
        (text(LINE).replace(";", ",").encode(), "plans_list"),
        (text(LINE).replace("OPS", "ICD").encode(), "OPS"),
        (b"", "OP-Nr"),
    ],
)
def test_a_file_that_cannot_be_read_says_what_to_set(content: bytes, says: str) -> None:
    with pytest.raises(InputError, match=says):
        read_list(content, GERMAN, BERLIN, at(7), at(8))


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    (tmp_path / "inbox").mkdir()
    return tmp_path / "inbox"


def site(inbox: Path, **changes: object) -> Settings:
    listed = GERMAN.model_copy(update={"folder": str(inbox), "settle_s": 0.0, **changes})
    return Settings(state_dir=inbox.parent / "state", plans=PlanSettings(time_zone="Europe/Berlin"), plans_list=listed)


def put(inbox: Path, name: str, content: str | bytes, written_at: dt.datetime) -> None:
    path = inbox / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    os.utime(path, (written_at.timestamp(), written_at.timestamp()))


DAY = dt.timedelta(days=1)
LAST_WEEK = dt.datetime.now(dt.UTC) - 7 * DAY


def states(settings: Settings) -> dict[str, PlanStatus]:
    return {one.key.operation_id: one.status for one in PlannedOperations.open(settings).current()}


def test_takes_files_in_the_order_in_which_they_were_written_and_puts_them_aside(inbox: Path) -> None:
    settings = site(inbox)
    put(inbox, "a.csv", text(LINE.replace("08:00", "13:00")), LAST_WEEK + DAY)
    put(inbox, "b.csv", text(LINE), LAST_WEEK)
    put(inbox, "notes.pdf", "no list", LAST_WEEK)
    assert ListFolder(settings).look() == 2
    (known,) = PlannedOperations.open(settings).current()
    assert known.starts == dt.datetime(2030, 1, 20, 12, tzinfo=dt.UTC)
    assert known.status is PlanStatus.MOVED
    assert sorted(path.name for path in inbox.iterdir()) == ["notes.pdf", "read", "refused"]
    assert len(list((inbox / "read").iterdir())) == 2
    assert ListFolder(settings).look() == 0


def test_a_file_that_is_still_written_waits(inbox: Path) -> None:
    put(inbox, "a.csv", text(LINE), dt.datetime.now(dt.UTC))
    assert ListFolder(site(inbox, settle_s=3600.0)).look() == 0


def test_wrong_files_and_lines_are_kept_and_named(inbox: Path) -> None:
    settings = site(inbox)
    put(inbox, "a.csv", text(LINE, "6;20.01.2030"), LAST_WEEK)
    put(inbox, "b.csv", text(LINE).encode("cp1252"), LAST_WEEK)
    ListFolder(settings).look()
    assert states(settings) == {"1": PlanStatus.PLANNED}
    (errors,) = (inbox / "read").glob("*.errors")
    assert errors.read_text() == "line 3: it has 2 columns instead of 12\n"
    (errors,) = (inbox / "refused").glob("*.errors")
    assert "plans_list.encoding" in errors.read_text()
    assert sorted(one.code for one in PlanRefusals.open(settings).refusals()) == ["file", "line"]


@pytest.mark.parametrize(
    ("is_full", "lines", "status"),
    [
        (True, (OTHER,), PlanStatus.CANCELLED),
        (False, (OTHER,), PlanStatus.PLANNED),
        (True, (OTHER, "6;20.01.2030"), PlanStatus.PLANNED),
        (True, (OTHER.replace("20.01", "21.01"),), PlanStatus.PLANNED),
        (True, (), PlanStatus.PLANNED),
        (True, (LINE.replace("20.01.2030", "21.01.2030"), OTHER), PlanStatus.MOVED),
        (True, (LINE + "ja", OTHER), PlanStatus.CANCELLED),
    ],
)
def test_a_line_that_vanished(inbox: Path, is_full: bool, lines: tuple[str, ...], status: PlanStatus) -> None:
    settings = site(inbox, is_full=is_full)
    put(inbox, "a.csv", text(LINE, OTHER), LAST_WEEK)
    put(inbox, "b.csv", text(*lines), LAST_WEEK + DAY)
    ListFolder(settings).look()
    assert states(settings)["1"] is status
    assert states(settings)["2"] in (PlanStatus.PLANNED, PlanStatus.MOVED)


def test_an_old_list_cancels_nothing_and_what_comes_back_is_planned_again(inbox: Path) -> None:
    settings = site(inbox, is_full=True)
    folder = ListFolder(settings)
    put(inbox, "b.csv", text(LINE, OTHER), LAST_WEEK + DAY)
    folder.look()
    put(inbox, "a.csv", text(OTHER), LAST_WEEK)
    folder.look()
    assert states(settings)["1"] is PlanStatus.PLANNED
    put(inbox, "c.csv", text(OTHER), LAST_WEEK + 2 * DAY)
    folder.look()
    assert states(settings)["1"] is PlanStatus.CANCELLED
    put(inbox, "d.csv", text(LINE, OTHER), LAST_WEEK + 3 * DAY)
    folder.look()
    assert states(settings)["1"] is PlanStatus.PLANNED


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"plans_list\.folder"):
        ListFolder(site(tmp_path / "nowhere"))
