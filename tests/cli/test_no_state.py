"""Commands that only read create no state directory, and report where they looked."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from node.cli.main import main

COMMANDS = (
    ["status"],
    ["plans"],
    ["plans", "--refused"],
    ["stability"],
    ["destinations"],
    ["deliveries", "list"],
    ["db", "current"],
    ["alerts", "list"],
    ["recalculate", "--since", "2026-01-01", "--dry-run"],
    ["rerun", "1.2.3"],
)


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_a_command_that_only_reads_makes_nothing(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2, result.output
    assert "there is no database" in result.output
    assert str(tmp_path / "state" / "bmd-node.sqlite") in result.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [["settings"], ["calibrations"], ["doctor"]], ids=" ".join)
def test_commands_without_records_make_nothing_either(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    CliRunner().invoke(main, arguments)
    assert list(tmp_path.iterdir()) == []
