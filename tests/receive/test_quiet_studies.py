"""When a study is complete, on SQLite and on PostgreSQL; every "now" is given, none is waited for."""

from __future__ import annotations

import copy
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from node.common.errors import ConfigurationError, InputError
from node.receive import QuietReason, QuietStudy, ReceivedStudies, import_folder
from node.receive.header import InstanceHeader, SlicePlane
from node.receive.index import Ending, InstanceIndex, Recorded
from node.receive.studies import has_gap
from node.records.database import metadata, open_database
from node.records.migrations.upgrade import VERSION_TABLE
from node.settings.tree import ListenerSettings, Settings, StudySettings
from tests import databases
from tests.receive.listener_process import ct_series, write_series

STUDY = StudySettings(stable_after_s=60, stable_after_release_s=5, max_wait_s=3600)


def image(number: int, *, study: str = "1.2.3", content: str = "a", z_mm: float | None = None) -> InstanceHeader:
    """The header of slice ``number``, 2 mm above the one before."""
    return InstanceHeader(
        sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
        sop_instance_uid=f"{study}.{number}",
        study_instance_uid=study,
        series_instance_uid=f"{study}.99",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        manufacturer_model_name="Scanner 1",
        plane=SlicePlane("1\\0\\0\\0\\1\\0", 2.0 * number if z_mm is None else z_mm),
        digest=(content * 64)[:64],
    )


class Node:
    """Both sides of the index: what the listener writes and what the workflow reads."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.engine = open_database(settings)
        self.index = InstanceIndex(self.engine)
        self.studies = ReceivedStudies(self.engine, settings.state_dir)

    def receive(self, *headers: InstanceHeader, association: str | None = "a1") -> list[Recorded]:
        """Record instances, and put a file where each says to be."""
        if association is not None:
            self.index.open_association(association, "CT1")
        recorded = []
        for header in headers:
            path = Path("received", header.study_instance_uid, f"{header.sop_instance_uid}-{header.digest[:4]}.dcm")
            (self.settings.state_dir / path).parent.mkdir(parents=True, exist_ok=True)
            (self.settings.state_dir / path).write_bytes(b"x")
            recorded.append(self.index.record_instance(header, path, association))
        return recorded

    def quiet(self, after_s: float, settings: StudySettings = STUDY) -> list[QuietStudy]:
        """What is quiet some time from now."""
        # of a process that has just started: one that runs measures by a clock that cannot be put forward here
        studies = ReceivedStudies(self.engine, self.settings.state_dir)
        return studies.quiet_studies(datetime.now(UTC) + timedelta(seconds=after_s), settings)


@pytest.fixture(params=["sqlite", "postgresql"])
def node(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Node]:
    """An empty index on each database."""
    url = None if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    made = Node(Settings(state_dir=tmp_path / "state", database_url=url))
    yield made
    databases.empty(made.engine)
    made.engine.dispose()


def test_a_study_is_quiet_when_nothing_came_for_a_while(node: Node) -> None:
    node.receive(*map(image, range(10)))
    assert node.quiet(40) == []
    (quiet,) = node.quiet(61)
    assert (quiet.study_instance_uid, quiet.reason, quiet.n_instances) == ("1.2.3", QuietReason.NOTHING_NEW, 10)
    assert len(quiet.paths) == 10
    assert all(path.is_absolute() and path.is_file() for path in quiet.paths)


def test_a_released_study_without_gaps_is_quiet_sooner(node: Node) -> None:
    node.receive(*map(image, range(10)))
    assert node.quiet(20) == []
    node.index.end_association("a1", Ending.RELEASED)
    assert node.quiet(2) == []
    assert [quiet.reason for quiet in node.quiet(6)] == [QuietReason.RELEASED]


def test_a_gap_makes_a_released_study_wait(node: Node) -> None:
    node.receive(*(image(number) for number in range(10) if number != 4))
    node.index.end_association("a1", Ending.RELEASED)
    assert node.quiet(20) == []
    node.receive(image(4), association="a2")
    assert node.quiet(20) == []
    node.index.end_association("a2", Ending.RELEASED)
    assert [quiet.n_instances for quiet in node.quiet(6)] == [10]


@pytest.mark.parametrize("ending", [Ending.ABORTED, Ending.LOST])
def test_an_association_that_was_cut_off_says_nothing_of_the_end(node: Node, ending: Ending) -> None:
    node.receive(*map(image, range(10)))
    if ending is Ending.LOST:
        assert node.index.end_lost_associations() == 1
    else:
        node.index.end_association("a1", ending)
    assert node.quiet(20) == []
    assert [quiet.reason for quiet in node.quiet(61)] == [QuietReason.NOTHING_NEW]
    # the sender repeats the study and ends it as it should
    assert set(node.receive(*map(image, range(10)), association="a2")) == {Recorded.DUPLICATE}
    node.index.end_association("a2", Ending.RELEASED)
    assert [quiet.reason for quiet in node.quiet(6)] == [QuietReason.RELEASED]


def test_another_association_that_still_sends_keeps_the_study_waiting(node: Node) -> None:
    node.receive(image(0), image(1), association="a1")
    node.receive(image(2), association="a2")
    node.index.end_association("a1", Ending.RELEASED)
    assert node.quiet(20) == []
    node.index.end_association("a2", Ending.RELEASED)
    assert len(node.quiet(20)) == 1


def test_a_study_that_never_becomes_quiet_is_given_after_the_longest_wait(node: Node) -> None:
    node.receive(*map(image, range(10)))
    restless = STUDY.model_copy(update={"stable_after_s": 10_000.0})
    assert node.quiet(3500, restless) == []
    (quiet,) = node.quiet(3601, restless)
    assert quiet.reason is QuietReason.WAITED_TOO_LONG


def test_a_study_that_was_handed_over_comes_again_only_with_late_images(node: Node) -> None:
    node.receive(*map(image, range(10)))
    (first,) = node.quiet(61)
    node.studies.mark_handed_over(first.study_instance_uid, first.content_digest, "w1")
    node.studies.mark_handed_over(first.study_instance_uid, first.content_digest, "w1")
    assert node.quiet(10_000) == []
    node.receive(*map(image, range(10)), association="a2")
    assert node.quiet(10_000) == []
    node.receive(image(10), association="a3")
    (second,) = node.quiet(61)
    assert second.n_instances == 11
    assert second.content_digest != first.content_digest


def test_an_image_that_comes_during_the_hand_over_is_not_lost(node: Node) -> None:
    node.receive(*map(image, range(10)))
    (first,) = node.quiet(61)
    node.receive(image(10))
    node.studies.mark_handed_over(first.study_instance_uid, first.content_digest, "w1")
    assert node.quiet(30) == []
    assert [quiet.n_instances for quiet in node.quiet(61)] == [11]


def test_the_digest_tells_the_content_and_not_the_order(node: Node) -> None:
    node.receive(image(0, study="1.1"), image(1, study="1.1"))
    node.receive(image(1, study="1.2"), image(0, study="1.2"))
    before = {quiet.study_instance_uid: quiet.content_digest for quiet in node.quiet(61)}
    assert before["1.1"] != before["1.2"]
    # another content for a known instance is a conflict and changes nothing
    assert node.receive(image(0, study="1.1", content="b")) == [Recorded.CONFLICT]
    after = {quiet.study_instance_uid: quiet.content_digest for quiet in node.quiet(61)}
    assert before == after
    (conflict,) = node.studies.conflicts("1.1")
    assert (conflict.sop_instance_uid, conflict.digest) == ("1.1.0", "b" * 64)


def test_the_same_images_in_another_order_have_the_same_digest(tmp_path: Path) -> None:
    nodes = [Node(Settings(state_dir=tmp_path / name)) for name in "ab"]
    nodes[0].receive(*map(image, range(12)))
    nodes[1].receive(*map(image, reversed(range(12))))
    digests = {quiet.content_digest for node in nodes for quiet in node.quiet(61)}
    assert len(digests) == 1


def test_old_images_are_removed_and_their_records_stay(node: Node) -> None:
    node.receive(*map(image, range(3)))
    node.receive(image(0, content="b"))
    node.receive(*(image(number, study="1.2.4") for number in range(3)))
    for quiet in node.quiet(61):
        node.studies.mark_handed_over(quiet.study_instance_uid, quiet.content_digest, quiet.study_instance_uid)
    (finished, unfinished) = sorted(node.settings.state_dir.glob("received/*"))
    future = datetime.now(UTC) + timedelta(days=1)
    assert node.studies.remove_images_older_than(future) == 0
    node.studies.mark_run_finished("1.2.3")
    assert node.studies.remove_images_older_than(datetime.now(UTC) - timedelta(days=1)) == 0
    assert node.studies.remove_images_older_than(future) == 4
    assert list(finished.iterdir()) == []
    assert len(list(unfinished.iterdir())) == 3
    assert node.studies.remove_images_older_than(future) == 0
    # the same images again are stored again, but the study is not processed a second time
    assert set(node.receive(*map(image, range(3)), association="a2")) == {Recorded.NEW}
    assert node.quiet(10_000) == []
    # something new in it is; that the rest was removed is told
    node.studies.remove_images_older_than(future)
    node.receive(image(7), association="a3")
    (late,) = node.quiet(10_000)
    assert (late.n_instances, late.n_removed) == (1, 3)


def _content_digest(node: Node, study: str) -> str:
    handovers = metadata.tables["received_handovers"]
    with node.engine.connect() as connection:
        query = sa.select(handovers.c.content_digest).where(handovers.c.study_instance_uid == study)
        return str(connection.execute(query).scalar_one())


def test_two_associations_that_bring_the_same_instance_at_once_record_it_once(node: Node) -> None:
    headers = [image(number) for number in range(30)]
    recorded: list[Recorded] = []
    start = threading.Barrier(3)

    def bring(association: str, content: str) -> None:
        start.wait()
        recorded.extend(node.receive(*(replace(header, digest=content * 64) for header in headers), association=association))

    threads = [threading.Thread(target=bring, args=pair) for pair in (("a1", "a"), ("a2", "a"), ("a3", "b"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counted = Counter(recorded)
    # where "a" came first: new, duplicate, conflict; where "b" did: new, conflict, and the conflict's duplicate
    assert counted == {Recorded.NEW: 30, Recorded.DUPLICATE: 30, Recorded.CONFLICT: 30}
    assert [quiet.n_instances for quiet in node.quiet(61)] == [30]


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_the_database_may_be_opened_for_the_first_time_by_several_at_once(
    database: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = None if database == "sqlite" else request.getfixturevalue("postgres_url")
    settings = Settings(state_dir=tmp_path / "state", database_url=url)
    with ThreadPoolExecutor(6) as pool:
        start = threading.Barrier(6)
        engines = list(pool.map(lambda _: (start.wait(), open_database(settings))[1], range(6)))
    assert set(sa.inspect(engines[0]).get_table_names()) == set(metadata.tables) | {VERSION_TABLE}
    databases.empty(engines[0])
    for engine in engines:
        engine.dispose()


@pytest.mark.parametrize("url", ["mysql://nobody@localhost/x", "no URL at all"])
def test_another_database_is_an_error_of_the_settings(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigurationError, match="database_url"):
        ReceivedStudies.open(Settings(state_dir=tmp_path, database_url=url))


@pytest.mark.parametrize(
    ("positions_mm", "expected"),
    [
        ([], False),
        ([1.0, 3.0], False),
        ([0.0, 5.0, 10.0, 15.0], False),
        ([15.0, 0.0, 10.0, 5.0], False),
        ([0.0, 0.0, 5.0, 5.0, 10.0, 10.0], False),  # two phases at the same positions
        ([0.0, 5.0, 15.0, 20.0], True),
        ([0.0, 2.5, 5.0, 7.4, 10.1], False),  # rounded headers
        ([0.0, 1.0, 2.0, 3.0, 300.0], True),
    ],
)
def test_gaps_are_seen_from_the_usual_distance(positions_mm: list[float], expected: bool) -> None:
    assert has_gap(positions_mm) is expected


def test_a_folder_is_imported_as_if_it_had_been_sent(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path / "state", listener=ListenerSettings(min_free_disk_mb=0))
    series = ct_series(4)
    own, changed = ct_series(1)[0], copy.deepcopy(series[0])
    own.ManufacturerModelName = "bmd-node"
    changed.SeriesDescription = "changed"
    write_series(tmp_path / "in" / "1", [*series, own])
    write_series(tmp_path / "in" / "2", [series[1], changed])
    (tmp_path / "in" / "readme.txt").write_text("not DICOM")
    (tmp_path / "in" / "empty.dcm").touch()
    done = import_folder(tmp_path / "in", settings)
    assert (done.n_new, done.n_duplicates, done.n_conflicts, done.n_own, done.n_not_dicom) == (4, 1, 1, 1, 2)
    assert list((settings.state_dir / "incoming").iterdir()) == []
    studies = ReceivedStudies.open(settings)
    (quiet,) = studies.quiet_studies(datetime.fromtimestamp(time.time() + 61, UTC), STUDY)
    assert (quiet.study_instance_uid, quiet.n_instances) == (series[0].StudyInstanceUID, 4)
    with pytest.raises(InputError, match="not a folder"):
        import_folder(tmp_path / "nowhere", settings)
