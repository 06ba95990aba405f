"""The audit trail: only added to, and a change shows."""

from __future__ import annotations

import contextlib
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from node.cli.main import main
from node.records.audit import Action, AuditEntry, AuditRecords
from node.records.engine import connect
from node.settings.tree import Settings
from tests.receive.conftest import postgres_url
from tests.records.test_migrations import DATABASES, settings

__all__ = ["postgres_url", "settings"]

LOOKED = AuditEntry(Action.VIEW, True, "mueller", "10.1.2.3", "1.2.3", "summary page")


@DATABASES
def test_several_processes_add_to_one_chain(settings: Settings) -> None:
    stores = [AuditRecords.open(settings) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        numbers = [n for found in pool.map(lambda store: [store.add(LOOKED) for _ in range(10)], stores) for n in found]
    assert sorted(numbers) == list(range(1, 41))
    odd = AuditEntry(Action.LOGIN, False, "m\0ü\ud800", "x" * 100, "y" * 5000, "ä")
    stores[0].add(odd)
    chain = stores[0].verify()
    assert (chain.n_rows, chain.problem) == (41, "")
    assert [row.number for row in stores[0].rows(after=38)] == [39, 40, 41]
    assert [row.entry for row in stores[0].rows(limit=1)] == [LOOKED]


@DATABASES
def test_the_database_refuses_to_change_the_trail(settings: Settings) -> None:
    AuditRecords.open(settings).add(LOOKED)
    engine = connect(settings)
    statements = ["UPDATE audit SET user_name = 'nobody'", "DELETE FROM audit"]
    if engine.dialect.name == "postgresql":
        statements.append("TRUNCATE audit")
    for statement in statements:
        with pytest.raises(sa.exc.DBAPIError, match="only added to"), engine.begin() as connection:
            connection.exec_driver_sql(statement)
    assert not AuditRecords.open(settings).verify().problem


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("UPDATE audit SET user_name = 'nobody' WHERE number = 2", "entry 2 was changed"),
        ("UPDATE audit SET at = '2026-01-01T00:00:00.000+00:00' WHERE number = 3", "entry 3 was changed"),
        ("UPDATE audit SET is_success = 0 WHERE number = 1", "entry 1 was changed"),
        ("UPDATE audit SET hash = previous_hash WHERE number = 2", "entry 2 was changed"),
        ("DELETE FROM audit WHERE number = 2", "entry 2 is missing"),
        ("DELETE FROM audit WHERE number = 1", "entry 1 is missing"),
        ("DELETE FROM audit WHERE number = 4", "entry 4, which was noted, is missing"),
    ],
)
def test_a_change_with_the_triggers_removed_shows(tmp_path: Path, statement: str, problem: str) -> None:
    own = Settings(state_dir=tmp_path / "state")
    records = AuditRecords.open(own)
    for _ in range(4):
        records.add(LOOKED)
    config = tmp_path / "bmd-node.toml"
    config.write_text(f'state_dir = "{tmp_path / "state"}"\n')

    def run(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(main, ["audit", *arguments, "--config", str(config)])
        return result.exit_code, result.output

    code, said = run("verify")
    assert (code, "4 entries, none changed or missing" in said) == (0, True)
    noted = said.split()[-1]
    assert noted.startswith("4:")
    assert run("verify", "--expect", noted)[0] == 0
    assert run("verify", "--expect", "4:abc")[0] == 2
    with contextlib.closing(sqlite3.connect(tmp_path / "state" / "bmd-node.sqlite")) as connection:
        connection.executescript(f"DROP TRIGGER audit_no_update; DROP TRIGGER audit_no_delete; {statement};")
    code, said = run("verify", "--expect", noted)
    assert (code, problem in said) == (1, True), said


def test_a_trail_that_was_computed_anew_is_not_the_one_that_was_noted(tmp_path: Path) -> None:
    old, new = (AuditRecords.open(Settings(state_dir=tmp_path / name)) for name in ("old", "new"))
    old.add(LOOKED)
    new.add(AuditEntry(Action.VIEW, True, "somebody else", "10.1.2.3", "1.2.3"))
    noted = old.verify()
    assert "entry 1 is another one" in new.verify((noted.last_number, noted.last_hash)).problem


def test_the_command_lists_what_is_asked_for(tmp_path: Path) -> None:
    records = AuditRecords.open(Settings(state_dir=tmp_path / "state"))
    records.add(LOOKED)
    records.add(AuditEntry(Action.LOGIN, False, "", "10.9.9.9", "", "wrong name or password"))
    config = tmp_path / "bmd-node.toml"
    config.write_text(f'state_dir = "{tmp_path / "state"}"\n')

    def listed(*arguments: str) -> str:
        result = CliRunner().invoke(main, ["audit", "list", *arguments, "--config", str(config)])
        assert result.exit_code == 0, result.output
        return result.output

    assert "REFUSED wrong name or password" in listed()
    assert "10.9.9.9" not in listed("--user", "mueller")
    assert "summary page" in listed("--study", "1.2.3", "--json")
    assert listed("--since", "2100-01-01") == ""
