"""``bmd-node health``: what a container engine asks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from node.cli.main import main
from node.records.workers import Workers
from node.settings.tree import ListenerSettings, Settings
from tests.receive.listener_process import Listener, free_port


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings of a node, also as the environment has them."""
    made = Settings(state_dir=tmp_path / "state", listener=ListenerSettings(host="127.0.0.1", port=free_port()))
    config = tmp_path / "bmd-node.toml"
    config.write_text(
        f'state_dir = "{made.state_dir}"\n[listener]\nhost = "127.0.0.1"\nport = {made.listener.port}\n'
        f"[web]\nport = {free_port()}\n"
    )
    monkeypatch.setenv("BMD_NODE_CONFIG", str(config))
    return made


@pytest.fixture
def listener(settings: Settings, tmp_path: Path) -> Iterator[Listener]:
    running = Listener(settings, tmp_path / "listener.log")
    running.start()
    yield running
    running.stop()


def asked(*parts: str) -> tuple[int, dict[str, tuple[str, str]]]:
    result = CliRunner().invoke(main, ["health", *parts, "--json"])
    return result.exit_code, {one["check"]: (one["outcome"], one["detail"]) for one in json.loads(result.output)}


def test_nothing_runs(settings: Settings) -> None:
    code, found = asked()
    assert code == 1
    assert {part: outcome for part, (outcome, _) in found.items()} == {
        "listener": "error",
        "worker": "error",
        "web": "error",
    }
    assert "Connection refused" in found["web"][1]
    assert not settings.state_dir.exists()


def test_a_listener_and_a_worker(settings: Settings, listener: Listener) -> None:
    workers = Workers.open(settings)
    workers.beat("another")
    assert asked("worker")[0] == 1, "another one's sign of life is not ours"
    workers.beat(settings.worker_id)
    assert asked("listener", "worker") == (
        0,
        {"listener": ("ok", "answers C-ECHO"), "worker": ("ok", "local is alive")},
    )
    workers.beat(settings.worker_id, stopped=True)
    assert asked("worker") == (1, {"worker": ("error", "the worker local has stopped")})
