"""Patient updates and merges over a real connection: what is taken, and what is refused because it leaves something open."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import pytest
from hl7apy.parser import parse_message

from benchmarks.plan_messages import FS_CR, VT, Sender, Sent, message_text
from node.clinical.identity import Issuers, PatientIdentifier
from node.clinical.planned_operation import PlanStatus
from node.records.patient_merges import Merge, PatientMerges
from node.records.planned_operations import PlannedOperations
from node.settings.tree import Settings
from tests.alerts.conftest import database_url
from tests.plans.adt_messages import adt
from tests.plans.conftest import StartIntake, postgres_url, running_intake

__all__ = ["database_url", "postgres_url"]

ISSUERS = Issuers((("KIS", "1.2.276.0.76.3"),))


def siu(number: int, event: str = "S12", **fields: str) -> Sent:
    return Sent("SIU", VT + message_text(number, event, operation="A1", **fields).encode() + FS_CR, ("AA",))


def id_of(value: str, issuer: str = "KIS") -> PatientIdentifier:
    return PatientIdentifier(value, issuer)


def test_an_update_reaches_the_operations_of_the_patient_and_of_nobody_else(start_intake: StartIntake) -> None:
    intake = start_intake()
    sender = Sender(intake.port)
    operations = PlannedOperations.open(intake.settings)
    assert sender.send(siu(1)) == ("AA",)
    # unknown here: nothing is kept of a patient without an operation
    assert sender.send(adt("A08", "999999^^^KIS")) == ("AA",)
    assert sender.send(adt("A08", "470001^^^PRAXIS", name="Huber^Josef", second=1)) == ("AA",)
    [known] = intake.known
    assert (known.patient.names, known.revision) == (("Müller^Anna",), 1)

    married = adt("A08", "470001^^^KIS~88^^^PRAXIS", name="Meier^Anna~Müller^Anna", second=5)
    for _ in range(2):
        assert sender.send(married) == ("AA",)
    [known] = intake.known
    assert known.patient.names == ("Meier^Anna", "Müller^Anna")
    assert [one.value for one in known.patient.identifiers] == ["470001", "88"]
    assert (known.status, known.place, len(operations.history(known.key))) == (PlanStatus.PLANNED, "OP 3", 2)

    # what was sent before it arrives late, and undoes nothing
    assert sender.send(adt("A08", "470001^^^KIS", name="Maier^Anna", second=3)) == ("AA",)
    assert sender.send(siu(2, "S15")) == ("AA",)
    [known] = intake.known
    assert (known.patient.names, known.status) == (("Meier^Anna", "Müller^Anna"), PlanStatus.CANCELLED)
    assert intake.refused == ()


def test_a_merge_is_kept_and_updates_the_operations_of_both_numbers(start_intake: StartIntake) -> None:
    intake = start_intake()
    sender = Sender(intake.port)
    assert sender.send(siu(1)) == ("AA",)
    merge = adt("A40", "4712^^^KIS~88^^^PRAXIS", "470001^^^KIS", name="Meier^Anna", second=1)
    for _ in range(2):
        assert sender.send(merge) == ("AA",)
    merges = PatientMerges.open(intake.settings)
    assert merges.merges() == (Merge(id_of("470001"), id_of("4712")),)
    [known] = intake.known
    assert (known.patient.names, known.revision) == (("Meier^Anna",), 2)


@pytest.mark.parametrize(
    ("message", "place", "says"),
    [
        (adt("A40", "4712^^^KIS", answer="AE"), "MRG", "MRG-1|is missing"),
        (adt("A40", "4712^^^KIS", "", answer="AE"), "MRG", "is missing"),
        (adt("A40", "4712^^^KIS", "4711", answer="AE"), "MRG", "names its issuer"),
        (adt("A40", "4712", "4711^^^KIS", answer="AE"), "PID", "names its issuer"),
        (adt("A40", "4712^^^PRAXIS", "4711^^^KIS", answer="AE"), "PID", "it has 0"),
        (adt("A40", "4712^^^KIS~4713^^^KIS", "4711^^^KIS", answer="AE"), "PID", "it has 2"),
        (adt("A40", "4711^^^KIS", "4711^^^KIS", answer="AE"), "MRG", "nothing is merged"),
        (adt("A40", "4712^^^KIS", "4711^^^KIS", more="MRG|5^^^KIS", answer="AE"), "MRG", "of its own"),
        (adt("A40", "4712^^^KIS", "4711^^^KIS", more="PID|2||5^^^KIS", answer="AE"), "MRG", "is missing"),
        (adt("A40", "", "4711^^^KIS", answer="AE"), "PID", "is missing"),
        (adt("A40", "4712^^^KIS", "47\\X00\\11^^^KIS", answer="AE"), "MRG", "NUL"),
        (adt("A08", "4711", answer="AE"), "PID", "plans.default_issuer"),
        (adt("A08", "4711^^^KIS", more="PID|2||5^^^KIS", answer="AE"), "PID", "one patient"),
        (adt("A01", "4711^^^KIS", answer="AR"), "MSH", "A08, A40"),
        (adt("A37", "4711^^^KIS", answer="AR"), "MSH", "A08, A40"),
    ],
)
def test_what_leaves_something_open_is_refused_with_a_reason(
    refusing: tuple[Sender, PatientMerges], message: Sent, place: str, says: str
) -> None:
    sender, merges = refusing
    (answer,) = sender.exchange(message)
    ack = parse_message(answer.decode())
    assert ack.msa.msa_1.value == message.answers[0]
    assert ack.err.err_2.value.startswith(place)
    assert any(part in ack.msa.msa_3.value for part in says.split("|"))
    assert merges.merges() == ()


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Sender, PatientMerges]]:
    with running_intake(tmp_path_factory.mktemp("intake")) as intake:
        yield Sender(intake.port), PatientMerges.open(intake.settings)


def test_numbers_are_followed_to_the_one_that_survives(tmp_path: Path, database_url: str | None) -> None:
    merges = PatientMerges.open(Settings(state_dir=tmp_path, database_url=database_url))
    noon = dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)
    a, b, c, other = id_of("1"), id_of("2"), id_of("3"), id_of("1", "PRAXIS")
    merges.keep([Merge(b, c)], noon, ISSUERS)
    merges.keep([Merge(a, b)], noon - dt.timedelta(hours=1), ISSUERS)
    assert merges.surviving(a, ISSUERS) == c
    assert merges.surviving(id_of("1", "urn:oid:1.2.276.0.76.3"), ISSUERS) == c
    for unknown in (other, id_of("1", "")):
        assert merges.surviving(unknown, ISSUERS) == unknown
        assert merges.all_numbers(unknown, ISSUERS) == (unknown,)
    assert merges.all_numbers(b, ISSUERS) == merges.all_numbers(c, ISSUERS) == (c, a, b)
    # the other way round: the later statement holds
    merges.keep([Merge(c, b)], noon - dt.timedelta(hours=2), ISSUERS)
    assert merges.surviving(a, ISSUERS) == c
    merges.keep([Merge(c, b)], noon + dt.timedelta(hours=1), ISSUERS)
    assert [merges.surviving(one, ISSUERS) for one in (a, b, c)] == [b, b, b]
    # another survivor: again the later one
    merges.keep([Merge(a, other)], noon - dt.timedelta(days=1), ISSUERS)
    assert merges.surviving(a, ISSUERS) == b
    merges.keep([Merge(a, other)], noon, ISSUERS)
    assert merges.surviving(a, ISSUERS) == other
    assert merges.erase([other], ISSUERS) == 1
    assert merges.surviving(a, ISSUERS) == a
