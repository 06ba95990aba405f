"""Removes rows: all that is about whole studies, single runs, or the plans of a patient.

:mod:`node.study.erasure` finds what is a patient's, :mod:`node.worker.housekeeping` what is too old.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field

import sqlalchemy as sa

# most of these modules only define tables that are named below
from node.common.batches import batches
from node.records import (  # noqa: F401
    alerts,
    destinations,
    prior_results,
    recalculations,
    received,
    report_versions,
    runs,
    scans,
    work,
)
from node.records.database import Store, metadata
from node.records.erased import mark_erased

#: Tables whose rows are about one run, and the column that names it.
_OF_RUN = {
    "runs": "run_id",
    "deliveries": "run_id",
    "redeliveries": "run_id",
    "delivered_objects": "run_id",
    "report_versions": "run_id",
    "recalculations": "run_id",
    "prior_results": "run_id",
    "scans": "run_id",
    "alert_results": "run_id",
    "alert_messages": "run_id",
    "commitments": "run_id",
    "commitment_requests": "run_id",
    "work": "subject",
}
#: Tables whose rows are about one study, as long as it has any images.
_OF_STUDY = (
    "received_instances",
    "received_studies",
    "received_handovers",
    "received_reruns",
    "received_association_studies",
    "received_ignored",
    "study_keys",
)
#: Rows that one statement names; SQLite allows 32,766 parameters.
_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows that are about some studies and runs.

    Attributes:
        studies: Study Instance UIDs: everything about them.
        run_ids: single runs, and all runs of the studies.
        message_ids: messages of alerts about them.
        n_rows: number of rows by table.
    """

    studies: frozenset[str]
    run_ids: frozenset[str]
    message_ids: frozenset[str]
    n_rows: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StoredRun:
    """A run in the table of runs; ``queued_s`` is in seconds since the epoch."""

    run_id: str
    study_instance_uid: str
    queued_s: float


@dataclass(frozen=True, slots=True)
class StoredImage:
    """A received file.

    Attributes:
        study_instance_uid: the study whose report rests on the image.
        path: relative to the state directory.
        is_valid: ``False`` for a second content of an image.
    """

    study_instance_uid: str
    sop_instance_uid: str
    digest: str
    path: str
    is_valid: bool


class Erasure(Store):
    """Finds and removes rows."""

    def runs(self) -> tuple[StoredRun, ...]:
        """Return all runs, in the order of hand-over."""
        table = metadata.tables["runs"]
        query = sa.select(table.c.run_id, table.c.study_instance_uid, table.c.queued_s)
        with self._reading.connect() as connection:
            return tuple(StoredRun(*row) for row in connection.execute(query.order_by(table.c.queued_s, table.c.run_id)))

    def images(self) -> tuple[StoredImage, ...]:
        """Return every received file that was not removed, with second contents."""
        first, second = metadata.tables["received_instances"], metadata.tables["received_conflicts"]
        valid = sa.select(first.c.study_instance_uid, first.c.sop_instance_uid, first.c.digest, first.c.path)
        of_study = first.c.study_instance_uid
        other = sa.select(of_study, second.c.sop_instance_uid, second.c.digest, second.c.path).join(
            first, first.c.sop_instance_uid == second.c.sop_instance_uid
        )
        with self._reading.connect() as connection:
            found = [StoredImage(*row, True) for row in connection.execute(valid.where(first.c.removed_s.is_(None)))]
            return (*found, *(StoredImage(*row, False) for row in connection.execute(other)))

    def paths_of(self, studies: Collection[str]) -> frozenset[str]:
        """Return the paths of all recorded files of studies, relative to the state directory."""
        with self._reading.connect() as connection:
            found = _values(connection, "received_instances", "path", "study_instance_uid", studies)
            return frozenset(found | _values(connection, "received_conflicts", "path", "study_instance_uid", studies))

    def kept_under(self, patient_keys: Collection[str]) -> frozenset[str]:
        """Return the runs whose results are kept under these keys, for later comparison."""
        with self._reading.connect() as connection:
            return frozenset(_values(connection, "prior_results", "run_id", "patient_key", patient_keys))

    def holders(self, run_ids: Collection[str]) -> tuple[tuple[str, int], ...]:
        """Return the destinations that have stored objects of these runs, and how many."""
        table, counted = metadata.tables["delivered_objects"], dict[str, int]()
        with self._reading.connect() as connection:
            for condition in _in(table.name, run_ids, "run_id")[1]:
                query = sa.select(table.c.destination, sa.func.count()).where(condition).group_by(table.c.destination)
                for name, n in connection.execute(query):
                    counted[name] = counted.get(name, 0) + int(n)
        return tuple(sorted(counted.items()))

    def told(self, message_ids: Collection[str]) -> tuple[tuple[str, int], ...]:
        """Return the channels on which messages may have reached somebody, and how many."""
        table, counted = metadata.tables["alert_messages"], dict[str, int]()
        with self._reading.connect() as connection:
            for condition in _in(table.name, message_ids, "message_id")[1]:
                query = sa.select(table.c.channel, sa.func.count()).where(condition, table.c.attempts > 0)
                for name, n in connection.execute(query.group_by(table.c.channel)):
                    counted[name] = counted.get(name, 0) + int(n)
        return tuple(sorted(counted.items()))

    def old_studies(self, before_s: float) -> dict[str, tuple[str, ...]]:
        """Studies of which nothing has changed since a time (seconds since the epoch), and their runs.

        A study with a run or work that has not ended, or with images that are to be measured, is not among them.
        """
        runs_, deliveries = metadata.tables["runs"], metadata.tables["deliveries"]
        work_, studies = metadata.tables["work"], metadata.tables["received_studies"]
        unfinished = sa.select(work_.c.subject).where(work_.c.state != "finished")
        is_young = sa.or_(
            runs_.c.updated_s >= before_s,
            runs_.c.state.in_(("queued", "running")),
            runs_.c.run_id.in_(sa.select(deliveries.c.run_id).where(deliveries.c.updated_s >= before_s)),
            runs_.c.run_id.in_(unfinished),
        )
        is_active = sa.or_(studies.c.last_activity_s >= before_s, studies.c.waiting_since_s.is_not(None))
        uid = runs_.c.study_instance_uid
        query = sa.select(uid, runs_.c.run_id).where(
            uid.not_in(sa.select(runs_.c.study_instance_uid).where(is_young)),
            uid.not_in(sa.select(studies.c.study_instance_uid).where(is_active)),
        )
        found: dict[str, list[str]] = {}
        with self._reading.connect() as connection:
            for study_instance_uid, run_id in connection.execute(query.order_by(runs_.c.queued_s)):
                found.setdefault(study_instance_uid, []).append(run_id)
        return {study_instance_uid: tuple(run_ids) for study_instance_uid, run_ids in found.items()}

    def with_images(self, studies: Collection[str]) -> frozenset[str]:
        """Return those of the studies of which images are still on the disk."""
        table = metadata.tables["received_instances"]
        found: set[str] = set()
        with self._reading.connect() as connection:
            for condition in _in(table.name, studies, "study_instance_uid")[1]:
                query = sa.select(table.c.study_instance_uid).where(condition, table.c.removed_s.is_(None)).distinct()
                found |= set(connection.execute(query).scalars())
        return frozenset(found)

    def forget_alerts(self, run_ids: Collection[str]) -> None:
        """Remove the alerts about runs, before their folders: alerts are decided on with what is in these."""
        with self._engine.begin() as connection:
            found = _complete(connection, (), run_ids)
            patients = _patients_of(connection, found)
            alert_ids = _values(connection, "alert_messages", "alert_id", "message_id", found.message_ids)
            for name, which in _statements(found):
                if name in ("alert_results", "alert_messages"):
                    _delete(connection, which)
            _forget_acknowledgements(connection, alert_ids)
            _forget_patients_without_results(connection, patients)

    def count_associations(self, before_s: float) -> int:
        """Number of the associations that :meth:`forget_associations` would remove."""
        with self._reading.connect() as connection:
            table, which = _old_associations(before_s)
            return int(connection.execute(sa.select(sa.func.count()).select_from(table).where(which)).scalar_one())

    def forget_associations(self, before_s: float) -> int:
        """Remove associations that ended before a time, except the last one of each AE title."""
        of_studies = metadata.tables["received_association_studies"]
        with self._engine.begin() as connection:
            table, which = _old_associations(before_s)
            ids = sa.select(table.c.association_id).where(which)
            connection.execute(sa.delete(of_studies).where(of_studies.c.association_id.in_(ids)))
            return connection.execute(sa.delete(table).where(which)).rowcount

    def mark(self, studies: Collection[str], run_ids: Collection[str]) -> None:
        """From now on work that is running on them adds no rows (:mod:`node.records.erased`)."""
        with self._engine.begin() as connection:
            found = _complete(connection, studies, run_ids)
            mark_erased(connection, found.studies, found.run_ids)

    def rows_of(self, studies: Collection[str], run_ids: Collection[str]) -> Rows:
        """What is kept about studies, and about single runs of other studies; changes nothing."""
        with self._reading.connect() as connection:
            found = _complete(connection, studies, run_ids)
            n_rows = {name: _count(connection, which) for name, which in _statements(found)}
        return Rows(found.studies, found.run_ids, found.message_ids, {name: n for name, n in n_rows.items() if n})

    def remove(
        self,
        studies: Collection[str],
        run_ids: Collection[str],
        own_instances: Collection[str] = (),
        conflicting: Collection[tuple[str, str]] = (),
        kept_tables: Collection[str] = (),
    ) -> Rows:
        """Remove the rows, in one transaction. Patients of alerts who have other studies are decided on again.

        Args:
            studies: Study Instance UIDs, of which nothing stays.
            run_ids: single runs of studies that stay.
            own_instances: SOP Instance UIDs of objects that the node made of them.
            conflicting: second contents of images of studies that stay: SOP Instance UID and digest.
            kept_tables: tables that stay as they are.
        """
        with self._engine.begin() as connection:
            found = _complete(connection, studies, run_ids)
            patients = _patients_of(connection, found)
            alert_ids = _values(connection, "alert_messages", "alert_id", "message_id", found.message_ids)
            own = {*own_instances, *_values(connection, "delivered_objects", "sop_instance_uid", "run_id", found.run_ids)}
            statements = [*_statements(found), ("received_own_instances", _in("received_own_instances", own))]
            n_rows = {name: _delete(connection, which) for name, which in statements if name not in kept_tables}
            second = metadata.tables["received_conflicts"]
            for sop_instance_uid, digest in conflicting:
                is_this = (second.c.sop_instance_uid == sop_instance_uid) & (second.c.digest == digest)
                n_rows[second.name] += connection.execute(sa.delete(second).where(is_this)).rowcount
            _forget_acknowledgements(connection, alert_ids)
            _forget_patients_without_results(connection, patients)
        return Rows(found.studies, found.run_ids, found.message_ids, {name: n for name, n in n_rows.items() if n})


_Which = tuple[sa.Table, list[sa.ColumnElement[bool]]]


def _complete(connection: sa.Connection, studies: Collection[str], run_ids: Collection[str]) -> Rows:
    """All runs and messages of the studies and runs."""
    found = set(run_ids)
    for name, column in _OF_RUN.items():
        if "study_instance_uid" in metadata.tables[name].c:
            found |= _values(connection, name, column, "study_instance_uid", studies)
    found |= _values(connection, "received_handovers", "workflow_id", "study_instance_uid", studies)
    found |= _values(connection, "recalculations", "run_id", "measured_run_id", found)
    found |= {run_id for run_id in _all_of_two_patients(connection) if run_id.partition("~")[0] in found}
    messages = _values(connection, "alert_messages", "message_id", "run_id", found)
    messages |= _values(connection, "alert_messages", "message_id", "study_instance_uid", studies)
    return Rows(frozenset(studies), frozenset(found), frozenset(messages))


def _all_of_two_patients(connection: sa.Connection) -> set[str]:
    """Names under which a run is kept for a patient whose it is not: ``RUN~PATIENT``."""
    run_id = metadata.tables["alert_results"].c.run_id
    return set(connection.execute(sa.select(run_id).where(run_id.contains("~"))).scalars())


def _statements(found: Rows) -> Iterator[tuple[str, _Which]]:
    """Every table with the conditions of its rows."""
    for name, column in _OF_RUN.items():
        if name == "alert_messages":
            yield name, _in(name, found.message_ids, "message_id")
        elif name == "work":
            yield name, _in(name, {*found.run_ids, *found.message_ids, *found.studies}, column)
        else:
            yield name, _in(name, found.run_ids, column)
    instances = metadata.tables["received_instances"].c
    second = metadata.tables["received_conflicts"]
    of_images: list[sa.ColumnElement[bool]] = []
    for uids in batches(sorted(found.studies), _AT_ONCE):
        images = sa.select(instances.sop_instance_uid).where(instances.study_instance_uid.in_(uids))
        of_images.append(second.c.sop_instance_uid.in_(images) | second.c.study_instance_uid.in_(uids))
    yield second.name, (second, of_images)
    for name in _OF_STUDY:
        yield name, _in(name, found.studies, "study_instance_uid")


def _old_associations(before_s: float) -> tuple[sa.Table, sa.ColumnElement[bool]]:
    table = metadata.tables["received_associations"]
    later = table.alias()
    is_later = (later.c.calling_ae_title == table.c.calling_ae_title) & (later.c.opened_s > table.c.opened_s)
    return table, (table.c.ended_s < before_s) & sa.exists().where(is_later)


def _in(name: str, values: Iterable[str], column: str = "sop_instance_uid") -> _Which:
    table = metadata.tables[name]
    return table, [table.c[column].in_(some) for some in batches(sorted(set(values)), _AT_ONCE)]


def _count(connection: sa.Connection, which: _Which) -> int:
    table, conditions = which
    counts = (sa.select(sa.func.count()).select_from(table).where(condition) for condition in conditions)
    return sum(int(connection.execute(count).scalar_one()) for count in counts)


def _delete(connection: sa.Connection, which: _Which) -> int:
    table, conditions = which
    return sum(connection.execute(sa.delete(table).where(condition)).rowcount for condition in conditions)


def _values(connection: sa.Connection, name: str, wanted: str, column: str, values: Iterable[str]) -> set[str]:
    table = metadata.tables[name]
    found: set[str] = set()
    for some in batches(sorted(set(values)), _AT_ONCE):
        found |= set(connection.execute(sa.select(table.c[wanted]).where(table.c[column].in_(some))).scalars())
    return found


def _patients_of(connection: sa.Connection, found: Rows) -> set[str]:
    patients = _values(connection, "alert_results", "patient_key", "run_id", found.run_ids)
    return patients | _values(connection, "alert_messages", "patient_key", "message_id", found.message_ids)


def _forget_acknowledgements(connection: sa.Connection, alert_ids: set[str]) -> None:
    left = _values(connection, "alert_messages", "alert_id", "alert_id", alert_ids)
    _delete(connection, _in("alert_acknowledgements", alert_ids - left, "alert_id"))


def _forget_patients_without_results(connection: sa.Connection, patients: set[str]) -> None:
    left = _values(connection, "alert_results", "patient_key", "patient_key", patients)
    for name in ("alert_patients", "alert_patient_numbers"):
        _delete(connection, _in(name, patients - left, "patient_key"))
    alerts.mark_for_decision(connection, sorted(left))
