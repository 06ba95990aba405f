"""The store: whatever the order of the statements, the end is the same, and nothing is counted twice."""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from node.clinical.identity import Issuers, PatientIdentifier, PatientIdentity
from node.clinical.matching import PatientMatch
from node.clinical.planned_operation import OperationKey, PlannedOperation, PlanSource, PlanStatus, without_weaker
from node.records.planned_operations import Kept, PlannedOperations
from node.settings.tree import Settings
from tests.plans.operations import PATIENT, PLIF, at, planned

ISSUERS = Issuers()


@pytest.fixture
def store(tmp_path: Path) -> PlannedOperations:
    return PlannedOperations.open(Settings(state_dir=tmp_path))


def test_keeps_all_that_was_said_and_survives_a_restart(store: PlannedOperations, tmp_path: Path) -> None:
    assert store.keep(planned(), "m1") is Kept.NEW
    again = PlannedOperations.open(Settings(state_dir=tmp_path))
    assert again.current() == (replace(planned(), revision=1),)


def test_a_repeated_message_changes_nothing(store: PlannedOperations) -> None:
    store.keep(planned(), "m1")
    late = replace(planned(), received_at=at(9))
    assert store.keep(late, "m1") is Kept.REPEATED
    assert store.keep(planned(at(8)), "m2") is Kept.UNCHANGED
    assert [change.sequence for change in store.changes_since(0)] == [1]


def test_a_control_id_that_is_used_again_for_something_else_is_no_repeat(store: PlannedOperations) -> None:
    store.keep(planned(), "1")
    assert store.keep(planned(at(9), starts=at(8, day=21)), "1") is Kept.CHANGED


def messages() -> list[tuple[PlannedOperation, str, bool]]:
    """New, moved, changed without a word of the status, cancelled: the latter with almost nothing in it."""
    bare = planned(at(11), status=PlanStatus.CANCELLED, patient=PatientIdentity(), starts=None, procedures=(), levels=())
    return [
        (planned(at(8)), "new", False),
        (planned(at(9), status=PlanStatus.MOVED, starts=at(9, day=23), procedures=(), levels=()), "moved", False),
        (replace(bare, participants=(), place=""), "cancelled", False),
        (planned(at(12), procedures=(PLIF, PLIF)), "changed after all", True),
    ]


def test_the_end_is_the_same_in_whatever_order_the_messages_come(store: PlannedOperations) -> None:
    for order in itertools.permutations(range(4)):
        key = OperationKey(PlanSource.HL7_SIU, "KIS", str(order))
        for index in order:
            operation, message_id, keeps_status = messages()[index]
            store.keep(replace(operation, key=key), message_id, keeps_status=keeps_status)
        known = store.operation(key)
        assert known is not None
        assert known == replace(messages()[3][0], key=key, status=PlanStatus.CANCELLED, revision=known.revision)


def test_an_old_message_that_comes_late_undoes_nothing(store: PlannedOperations) -> None:
    store.keep(planned(at(10), status=PlanStatus.CANCELLED), "cancelled")
    assert store.keep(planned(at(8)), "new") is Kept.UNCHANGED
    assert store.operation(planned().key) == replace(planned(at(10), status=PlanStatus.CANCELLED), revision=1)


def test_a_new_time_is_a_move_and_stays_one(store: PlannedOperations) -> None:
    store.keep(planned(at(8)), "1")
    store.keep(planned(at(9), starts=at(7, day=22)), "2")
    store.keep(planned(at(10), starts=at(7, day=22), place="OR 9"), "3")
    assert [one.status for one in store.history(planned().key)] == [PlanStatus.PLANNED, PlanStatus.MOVED, PlanStatus.MOVED]


def test_changes_tell_what_was_known_before(store: PlannedOperations) -> None:
    store.keep(planned(at(8)), "1")
    store.keep(planned(at(8), key=OperationKey(PlanSource.FHIR, "KIS", "A1")), "1")
    store.keep(planned(at(9), status=PlanStatus.CANCELLED), "2")
    changes = store.changes_since(1)
    assert [change.sequence for change in changes] == [2, 3]
    assert changes[0].previous is None
    assert changes[1].previous == replace(planned(at(8)), revision=1)
    assert store.changes_since(3) == ()


def test_a_list_that_no_longer_names_the_surgeon_has_none(store: PlannedOperations) -> None:
    key = OperationKey(PlanSource.THEATRE_LIST, "list", "A1")
    store.keep(planned(at(8), key=key), "1")
    store.keep(planned(at(9), key=key, participants=()), "2")
    assert store.current()[0].participants == ()


def test_finds_the_operations_of_a_patient_and_says_what_is_in_doubt(store: PlannedOperations) -> None:
    store.keep(planned(), "1")
    other = replace(PATIENT, identifiers=(PatientIdentifier("4711", "OTHER"),))
    store.keep(planned(key=OperationKey(PlanSource.HL7_SIU, "KIS", "A2"), patient=other), "2")
    renamed = replace(PATIENT, names=("Schmidt^Eva",))
    store.keep(planned(key=OperationKey(PlanSource.HL7_SIU, "KIS", "A3"), patient=renamed), "3")
    found = store.for_patient(PATIENT, ISSUERS)
    assert [(one.operation.key.operation_id, one.match.match) for one in found] == [
        ("A1", PatientMatch.SAME),
        ("A3", PatientMatch.DOUBT),
    ]
    assert [doubt.code for doubt in found[1].match.doubts] == ["name_differs"]


def test_forgets_what_is_over_and_gives_no_number_twice(store: PlannedOperations) -> None:
    store.keep(planned(), "1")
    assert store.forget(at(8, day=20)) == 0
    assert store.forget(at(9, day=20)) == 1
    assert store.current() == ()
    assert store.for_patient(PATIENT, ISSUERS) == ()
    store.keep(planned(), "1")
    assert [change.sequence for change in store.changes_since(1)] == [2]


def test_counts_by_source_and_status(store: PlannedOperations) -> None:
    store.keep(planned(), "1")
    counts = store.counts()
    assert counts[PlanSource.HL7_SIU, PlanStatus.PLANNED] == 1
    assert sum(counts.values()) == 1


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_many_writers_leave_no_gap_that_a_reader_could_miss(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = None if kind == "sqlite" else request.getfixturevalue("postgres_url")
    settings = Settings(state_dir=tmp_path, database_url=url)
    store = PlannedOperations.open(settings)
    done, seen = threading.Event(), [0]

    def read() -> None:
        """Follow the changes as they come; each must be seen, whatever the order of the commits."""
        while not done.is_set() or store.changes_since(seen[-1]):
            seen.extend(change.sequence for change in store.changes_since(seen[-1]))

    def write(number: int) -> None:
        writer = PlannedOperations.open(settings)
        for minute in range(8):
            key = OperationKey(PlanSource.HL7_SIU, "KIS", f"A{number}")
            writer.keep(planned(at(8, minute), key=key, place=f"OR {minute}"), f"m{minute}")
            writer.keep(planned(at(8, minute), key=key, place=f"OR {minute}"), f"m{minute}")

    with ThreadPoolExecutor(5) as threads:
        reader = threads.submit(read)
        try:
            for writing in [threads.submit(write, number) for number in range(4)]:
                writing.result()
        finally:
            done.set()
        reader.result()
    assert len(seen) == 1 + 4 * 8
    assert seen == sorted(set(seen))
    assert [one.revision for one in store.current()] == [8] * 4
    assert len(store.history(OperationKey(PlanSource.HL7_SIU, "KIS", "A1"))) == 8
    assert store.forget(at(9, day=20)) == 4


LIST, SIU = (OperationKey(source, "x", "1") for source in (PlanSource.THEATRE_LIST, PlanSource.HL7_SIU))
ORDER = OperationKey(PlanSource.DICOM_ORDER, "x", "1")


@pytest.mark.parametrize(
    ("weaker", "stronger", "gives_way"),
    [
        (planned(key=LIST), planned(key=SIU, starts=at(15, day=20)), True),
        (planned(key=LIST), planned(key=SIU, starts=at(8, day=21)), False),
        (planned(key=LIST), planned(key=SIU, status=PlanStatus.CANCELLED), True),
        (planned(key=LIST), planned(key=SIU, status=PlanStatus.VANISHED), False),
        (planned(key=ORDER, starts=None), planned(key=LIST), True),
        (planned(key=ORDER, starts=None), planned(key=LIST, status=PlanStatus.VANISHED), True),
        (planned(key=ORDER, starts=None, sent_at=at(8, day=21)), planned(key=LIST), False),
        (planned(key=SIU), planned(key=SIU), False),
    ],
)
def test_a_weaker_source_gives_way(weaker: PlannedOperation, stronger: PlannedOperation, gives_way: bool) -> None:
    assert (weaker not in without_weaker([weaker, stronger])) is gives_way
    assert stronger in without_weaker([weaker, stronger])
