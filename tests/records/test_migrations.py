"""The revisions create exactly the tables of the code, on SQLite and PostgreSQL."""

from __future__ import annotations

import importlib
import pkgutil
import re
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from click.testing import CliRunner

import node
import node.records
from node.cli.main import main
from node.common.errors import ConfigurationError
from node.records.database import metadata, open_database
from node.records.engine import connect
from node.records.migrations.upgrade import VERSION_TABLE, revisions, upgrade
from node.records.runs import RunRecords, RunState
from node.settings.tree import Settings
from tests.receive.conftest import postgres_url  # noqa: F401

DATABASES = pytest.mark.parametrize("database", ["sqlite", "postgresql"])


@pytest.fixture
def settings(database: str, tmp_path: Path, request: pytest.FixtureRequest) -> Settings:
    """Settings with an empty database."""
    if database == "sqlite":
        return Settings(state_dir=tmp_path / "state")
    server = request.getfixturevalue("postgres_url")
    name = f"migrations_{uuid.uuid4().hex}"
    with sa.create_engine(server, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool).connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    url = sa.engine.make_url(server).set(database=name).render_as_string(hide_password=False)
    return Settings(state_dir=tmp_path / "state", database_url=url)


def every_table() -> sa.MetaData:
    for module in pkgutil.iter_modules(node.records.__path__, "node.records."):
        importlib.import_module(module.name)
    return metadata


def differences(engine: sa.Engine, tables: sa.MetaData) -> str:
    """Describe how a database differs from the given tables, and what to do about it; empty if there is no difference."""
    options = {"version_table": VERSION_TABLE, "compare_type": True}
    with engine.connect() as connection:
        found = compare_metadata(MigrationContext.configure(connection, opts=options), tables)
    if not found:
        return ""
    lines = "\n".join(f"  {difference}" for difference in found)
    return (
        f"The revisions do not create the tables of the code:\n{lines}\n"
        'Write a revision: make revision WHAT="what has changed", then review it (see "A table column" in '
        "CONTRIBUTING.md)."
    )


@DATABASES
def test_the_revisions_make_the_tables_of_the_code(settings: Settings) -> None:
    found = differences(open_database(settings), every_table())
    assert not found, found


def test_numbers_that_are_never_given_twice_are_so_in_the_revisions(tmp_path: Path) -> None:
    """AUTOINCREMENT of SQLite, which the comparison of tables ignores."""
    engine = open_database(Settings(state_dir=tmp_path))
    wanted = {table.name for table in every_table().sorted_tables if table.dialect_options["sqlite"]["autoincrement"]}
    with engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE type = 'table'").all()
    assert {name for name, sql in rows if "AUTOINCREMENT" in sql} == wanted != set()


def test_every_table_is_in_records() -> None:
    """No revision would create a table that is defined elsewhere, so its first user would find it missing."""
    node_folder = Path(node.__file__).parent
    elsewhere = [
        str(path.relative_to(node_folder))
        for path in node_folder.rglob("*.py")
        if re.search(r"\bsa\.(Table|MetaData)\(", path.read_text(encoding="utf-8"))
        and path.relative_to(node_folder).parts[0] != "records"
    ]
    assert not elsewhere, "move them to node/records, and write a revision"


@DATABASES
def test_a_field_without_a_revision_is_named_with_what_to_do(settings: Settings) -> None:
    """Simulates a new reading of the scan: the columns are derived from the fields of ScanReadings."""
    changed = sa.MetaData()
    for table in every_table().sorted_tables:
        table.to_metadata(changed)
    changed.tables["scans"].append_column(sa.Column("liver_hu", sa.Double))
    found = differences(open_database(settings), changed)
    assert "liver_hu" in found
    assert "scans" in found
    assert "make revision" in found


@DATABASES
def test_a_database_of_version_0_1_0_keeps_its_rows_and_its_tables(settings: Settings) -> None:
    """That version created only the tables that its parts needed, and stored no revision."""
    engine = connect(settings)
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TABLE runs (run_id VARCHAR(200) NOT NULL, study_instance_uid VARCHAR(64) NOT NULL, "
            "state VARCHAR(16) NOT NULL, step VARCHAR(32) NOT NULL, detail TEXT NOT NULL, folder TEXT NOT NULL, "
            "queued_s FLOAT NOT NULL, updated_s FLOAT NOT NULL, PRIMARY KEY (run_id))"
        )
        connection.exec_driver_sql("CREATE INDEX ix_runs_study_instance_uid ON runs (study_instance_uid)")
        for number, detail in enumerate(("", "low", "replaced by a later report", "low; replaced by a later report")):
            row = {"id": f"run-{number}", "uid": f"1.2.{number}", "detail": detail, "s": number}
            insert = "INSERT INTO runs VALUES (:id, :uid, 'measured', 'alert', :detail, '/state/results/x', :s, :s)"
            connection.execute(sa.text(insert), row)
    records = RunRecords.open(settings)
    runs = {run.run_id: (run.detail, run.is_replaced) for run in records.runs()}
    assert runs == {"run-0": ("", False), "run-1": ("low", False), "run-2": ("", True), "run-3": ("low", True)}
    replaced = records.run("run-3")
    assert replaced is not None
    assert replaced.said == "low; replaced by a later report"
    assert not differences(engine, every_table())


@DATABASES
def test_that_a_run_is_replaced_stays_whatever_it_says_later(settings: Settings) -> None:
    records = RunRecords.open(settings)
    records.queued("run", "1.2.3", settings.state_dir)
    records.replaced("run")
    records.finished("run", RunState.MEASURED, "a doubt")
    run = records.run("run")
    assert run is not None
    assert (run.detail, run.is_replaced, run.said) == ("a doubt", True, "a doubt; replaced by a later report")


@DATABASES
def test_one_of_several_upgrades_and_the_others_wait(settings: Settings) -> None:
    engines = [connect(settings) for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        applied = [len(found) for found in pool.map(upgrade, engines)]
    assert sorted(applied) == [0] * 5 + [len(revisions(engines[0]))]


@DATABASES
def test_a_database_of_a_later_version_is_refused_and_stays_as_it_is(settings: Settings) -> None:
    engine = open_database(settings)
    with engine.begin() as connection:
        connection.execute(sa.table(VERSION_TABLE, sa.column("version_num")).update().values(version_num="9999"))
    with pytest.raises(ConfigurationError, match=r"9999.*later version"):
        open_database(settings)
    with pytest.raises(ConfigurationError, match="9999"):
        revisions(engine)


def test_commands_show_and_upgrade(tmp_path: Path) -> None:
    config = tmp_path / "bmd-node.toml"
    config.write_text(f'state_dir = "{tmp_path / "state"}"\n')

    def run(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(main, ["db", *arguments, "--config", str(config)])
        return result.exit_code, result.output

    assert run("current")[0] == 2, "there is none yet"
    with connect(Settings(state_dir=tmp_path / "state")).begin() as connection:
        connection.exec_driver_sql("CREATE TABLE of_somebody_else (id INTEGER)")
    code, said = run("current")
    assert code == 1
    assert "0001  missing" in said
    assert "bmd-node db upgrade" in said
    code, said = run("upgrade")
    assert code == 0
    assert "0001  applied" in said
    assert run("current")[0] == 0
    assert run("upgrade") == (0, "the database is up to date\n")
