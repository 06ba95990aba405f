"""What the doctor reads from the records: workers, studies that wait, scanners without an equation, databases."""

from __future__ import annotations

import datetime as dt
import sqlite3
import time
from pathlib import Path

import pytest
import sqlalchemy as sa

from node.common.errors import ConfigurationError
from node.doctor import Outcome
from node.doctor.clock import check_clock
from node.doctor.equations import check_scanners_without_equation
from node.doctor.storage import check_database
from node.doctor.work import check_work
from node.model import NOTHING_READ, ContrastPhase, Orientation, SeriesFacts
from node.records.runs import RunRecords, RunState
from node.records.scans import ScanRecords
from node.records.workers import Workers
from node.settings.tree import Settings
from tests.receive.conftest import postgres_url

__all__ = ["postgres_url"]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(state_dir=tmp_path / "state")


def test_studies_that_wait_for_nobody(settings: Settings, tmp_path: Path) -> None:
    records, workers = RunRecords.open(settings), Workers.open(settings)
    records.queued("run-1", "2.25.1", tmp_path)
    [found] = check_work(settings)
    assert found.outcome is Outcome.ERROR
    assert found.what_to_do.startswith("no worker processes them")

    workers.beat("local")
    [found] = check_work(settings)
    assert found.outcome is Outcome.OK
    assert "workers alive: local; studies: 1 waiting or running" in found.detail

    records.finished("run-1", RunState.FAILED, "")
    [found] = check_work(settings)
    assert found.outcome is Outcome.WARNING
    assert "1 failed" in found.detail

    workers.beat("local", stopped=True)
    records.queued("run-2", "2.25.2", tmp_path)
    [found] = check_work(settings)
    assert found.outcome is Outcome.ERROR, "a worker that stopped takes care of nothing"


def test_a_worker_is_lost_when_it_is_silent_or_stopped(settings: Settings) -> None:
    workers = Workers.open(settings)
    workers.beat("a")
    workers.beat("b")
    workers.beat("b", stopped=True)
    assert {one.worker_id for one in workers.known()} == {"a", "b"}
    lost = {one.worker_id for one in workers.known() if one.is_lost(time.time(), 300.0)}
    assert lost == {"b"}
    assert {one.worker_id for one in workers.known() if one.is_lost(time.time() + 301, 300.0)} == {"a", "b"}
    workers.forget("b")
    assert [one.worker_id for one in workers.known()] == ["a"]


def seen(records: ScanRecords, n: int, model: str, kvp: float | None) -> None:
    facts = SeriesFacts(
        study_instance_uid=f"2.25.{n}",
        series_instance_uid=f"2.25.{n}.1",
        frame_of_reference_uid=None,
        manufacturer="Philips",
        manufacturer_model_name=model,
        kvp=kvp,
        convolution_kernel="B",
        slice_thickness_mm=1.0,
        spacing_mm=(1.0, 1.0, 1.0),
        orientation=Orientation.AXIAL,
        contrast_phase=ContrastPhase.NONE,
        acquisition_date=dt.date(2026, 1, 10),
    )
    readings = type(NOTHING_READ)(air_hu=-1000.0)
    records.keep(f"run-{n}", facts, readings)


def test_scanners_that_were_seen_and_have_no_equation(settings: Settings) -> None:
    records = ScanRecords.open(settings)
    assert check_scanners_without_equation(settings) == ()
    seen(records, 1, "Brilliance 64", 120.0)
    assert check_scanners_without_equation(settings) == (), "the shipped equation is for this one"
    for n, (model, kvp) in enumerate([("Brilliance 64", 100.0), ("IQon", 120.0), ("IQon", 120.0), ("IQon", None)], 2):
        seen(records, n, model, kvp)
    found = check_scanners_without_equation(settings)
    assert {one.outcome for one in found} == {Outcome.WARNING}
    told = [(one.detail.split(",")[0], one.detail.split(", ")[-2:]) for one in found]
    assert told[0] == ("Philips IQon", ["120 kVp", "2 scans"]), "the one with most scans first"
    assert set(map(str, told[1:])) == {
        str(("Philips Brilliance 64", ["100 kVp", "1 scans"])),
        str(("Philips IQon", ["kVp not stated", "1 scans"])),
    }


def test_sqlite_that_another_program_holds(settings: Settings) -> None:
    RunRecords.open(settings)
    [found] = check_database(settings)
    assert found.outcome is Outcome.OK
    with sqlite3.connect(settings.state_dir / "bmd-node.sqlite", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        [found] = check_database(settings)
        other.execute("ROLLBACK")
    assert found.outcome is Outcome.ERROR
    assert found.what_to_do.startswith("another program has locked it")


def test_postgresql(postgres_url: str, tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path, database_url=postgres_url)
    [found] = check_database(settings)
    assert found.outcome is Outcome.OK, found
    [clock] = check_clock(settings)
    assert clock.outcome is Outcome.OK
    assert "s from PostgreSQL" in clock.detail

    engine = sa.create_engine(postgres_url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text("CREATE ROLE guest LOGIN"))
        connection.execute(sa.text("CREATE DATABASE others"))
    empty = Settings(state_dir=tmp_path / "none", database_url=str(engine.url.set(database="others")))
    [work] = check_work(empty)
    assert work.detail == "the node has not run yet"
    assert sa.inspect(sa.create_engine(empty.sqlalchemy_url)).get_table_names() == [], "the doctor makes nothing"
    assert not (tmp_path / "none").exists()

    guest = sa.engine.make_url(postgres_url).set(username="guest", database="others")
    [found] = check_database(Settings(state_dir=tmp_path, database_url=str(guest)))
    assert found.outcome is Outcome.ERROR
    assert 'GRANT CREATE ON DATABASE "others"' in found.what_to_do


def test_postgresql_that_is_away_and_passwords_that_are_missing(tmp_path: Path) -> None:
    url = "postgresql+psycopg://bmd-node@127.0.0.1:1/bmd-node"
    [found] = check_database(Settings(state_dir=tmp_path, database_url=url.replace("@", ":hidden@")))
    assert found.outcome is Outcome.ERROR
    assert "does not answer" in found.detail
    assert "hidden" not in str(found)

    secret = tmp_path / "password"
    settings = Settings(state_dir=tmp_path, database_url=url, database_password_file=secret)
    [found] = check_database(settings)
    assert (
        found.detail
        == f"database_password_file: {secret} cannot be read (No such file or directory): write the password into it"
    )
    secret.write_text("\n")
    with pytest.raises(ConfigurationError, match="must hold one line"):
        _ = settings.sqlalchemy_url
    secret.write_text("a:b/c@d\n")
    assert sa.engine.make_url(settings.sqlalchemy_url).password == secret.read_text().strip()
    twice = Settings(state_dir=tmp_path, database_url=url.replace("@", ":x@"), database_password_file=secret)
    with pytest.raises(ConfigurationError, match="keep only the file"):
        _ = twice.sqlalchemy_url
