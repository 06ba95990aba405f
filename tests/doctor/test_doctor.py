"""``bmd-node doctor``, and that ``serve`` refuses with the same words."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from node.cli.main import main
from node.doctor import Outcome, examine
from node.doctor.storage import check_state_directory
from node.settings.tree import ListenerSettings, Settings
from tests.receive.listener_process import free_port


def settings_file(folder: Path, segmenter: str = "embedded", more: str = "") -> Path:
    path = folder / "bmd-node.toml"
    path.write_text(f'state_dir = "{folder / "state"}"\n{more}\n[segment]\nsegmenter = "{segmenter}"\n')
    return path


def outcomes(config: Path) -> dict[str, Outcome]:
    return {finding.check: finding.outcome for finding in examine(config)}


def test_a_node_before_its_first_start(tmp_path: Path) -> None:
    """Nothing stands in the way but that results have nowhere to go."""
    ports = f"[web]\nport = {free_port()}\n[listener]\nport = {free_port()}\n"
    config = settings_file(tmp_path)
    config.write_text(config.read_text() + ports)
    result = CliRunner().invoke(main, ["doctor", "--config", str(config)])
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert [line.split(":")[0].split(maxsplit=1) for line in lines] == [
        ["ok", "settings"],
        ["ok", "segmenter"],
        ["ok", "equations"],
        ["ok", "state directory"],
        ["ok", "database"],
        ["ok", "listener"],
        ["ok", "status page"],
        ["ok", "work"],
        ["warning", "destination"],
        ["ok", "senders"],
        ["ok", "Orthanc"],
        ["ok", "link with Orthanc"],
        ["ok", "planned operations"],
        ["ok", "alerts by mail"],
        ["ok", "clock"],
        ["ok", "scanners"],
    ]
    assert "segmenter: embedded " in lines[1]
    assert not (tmp_path / "state").exists()


def test_settings_that_cannot_be_read_are_the_only_finding(tmp_path: Path) -> None:
    config = tmp_path / "bmd-node.toml"
    config.write_text("[listener]\nport = 0\n")
    result = CliRunner().invoke(main, ["doctor", "--config", str(config)])
    assert result.exit_code == 1
    first, *others = result.output.splitlines()
    assert first.startswith("error    settings: ")
    assert "line 2: listener.port" in " ".join(others)


def test_equations_that_cannot_be_read(tmp_path: Path) -> None:
    config = settings_file(tmp_path)
    config.write_text(config.read_text() + f'[calibrate]\nsite_equations = "{tmp_path / "none.toml"}"\n')
    assert outcomes(config)["equations"] is Outcome.ERROR


def test_a_state_directory_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    [found] = check_state_directory(Settings(state_dir=tmp_path / "state"))
    assert found.outcome is Outcome.ERROR
    assert str(tmp_path / "state") in found.detail
    assert "state_dir" in found.what_to_do


def test_little_room_is_a_warning_and_no_error(tmp_path: Path) -> None:
    config = settings_file(tmp_path)
    config.write_text(config.read_text() + f"[listener]\nmin_free_disk_mb = {2**40}\n")
    assert outcomes(config)["state directory"] is Outcome.WARNING
    assert CliRunner().invoke(main, ["doctor", "--config", str(config)]).exit_code == 0
    [found] = check_state_directory(Settings(state_dir=tmp_path, listener=ListenerSettings(min_free_disk_mb=0)))
    assert found.outcome is Outcome.OK


@pytest.mark.parametrize("command", ["serve", "worker"])
def test_a_node_whose_segmenter_is_missing_does_not_start(tmp_path: Path, command: str) -> None:
    """Both say what the doctor says, and the listener takes no image that would never be measured."""
    config = settings_file(tmp_path, f"torchscript:{tmp_path / 'spine.pt'}")
    result = CliRunner().invoke(main, ["doctor", "--config", str(config)])
    assert result.exit_code == 1
    [line] = [line for line in result.output.splitlines() if line.startswith("error")]
    sentence = line.removeprefix("error    segmenter: ")
    assert "spine.pt does not exist" in sentence
    started = subprocess.run(
        [sys.executable, "-m", "node.cli", command, "--config", str(config)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert started.returncode == 2
    assert started.stderr.splitlines()[-1] == f"bmd-node: {sentence}"
    if command == "serve":
        assert "started, process" not in started.stderr
        assert not (tmp_path / "state").exists()
