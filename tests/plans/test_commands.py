"""``bmd-node intake`` as a process, ``bmd-node plans``, the parts of ``bmd-node serve``, and the metrics."""

from __future__ import annotations

import datetime as dt
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from click.testing import CliRunner
from prometheus_client import CollectorRegistry, generate_latest

from benchmarks.plan_messages import FS_CR, VT, Sender, Sent, message_text
from node.cli.main import main
from node.clinical.planned_operation import OperationKey, PlanSource, PlanStatus
from node.demo.pacs import free_port
from node.records.plan_refusals import PlanRefusals
from node.records.planned_operations import PlannedOperations
from node.settings.plans import PlanFhirSettings, PlanHl7Settings, PlanListSettings
from node.settings.tree import Settings, load_settings
from node.supervisor import parts_of
from node.web.plan_metrics import PlansCollector
from tests.plans.operations import at, planned

SECRETS = ("4711", "Müller", "1950", "PLIF", "Schraube")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Settings of a node that knows of three operations: one to come, one cancelled, one over."""
    settings = Settings(state_dir=tmp_path / "state")
    store = PlannedOperations.open(settings)
    store.keep(planned(), "1")
    for number, changes in (("A2", {"status": PlanStatus.CANCELLED}), ("A3", {"starts": at(8).replace(year=2020)})):
        store.keep(planned(**changes, key=OperationKey(PlanSource.HL7_SIU, "KIS", number)), "1")
    refusals = PlanRefusals.open(settings)
    refusals.keep(PlanSource.HL7_SIU, "Müller".encode(), "101", "PID is missing")
    path = tmp_path / "bmd-node.toml"
    path.write_text(f'state_dir = "{tmp_path / "state"}"\n')
    return path


def run(config: Path, *arguments: str) -> str:
    result = CliRunner().invoke(main, ["plans", "--config", str(config), *arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def test_lists_what_is_to_come_and_names_nobody(config: Path) -> None:
    text = run(config)
    assert "hl7_siu KIS A1" in text
    assert "5-836.40 (OPS); levels L4, L5" in text
    assert "1 of 3 planned operations" in text
    assert not any(secret in text for secret in SECRETS)


def test_lists_all_and_identities_where_it_is_asked_to(config: Path) -> None:
    text = run(config, "--all", "--identity")
    assert all(secret in text for secret in SECRETS)
    assert [number for number in ("A1", "A2", "A3") if number in text] == ["A1", "A2", "A3"]
    assert "cancelled" in text


def test_times_and_days_are_those_of_the_site(config: Path) -> None:
    config.write_text(config.read_text() + '[plans]\ntime_zone = "Pacific/Auckland"\n')
    settings = load_settings(config)
    day = dt.datetime(2030, 1, 21, tzinfo=settings.plans.zone)
    key = OperationKey(PlanSource.THEATRE_LIST, "list", "A4")
    PlannedOperations.open(settings).keep(planned(key=key, starts=day, time_known=False), "1")
    text = run(config)
    assert "2030-01-20 21:00+13:00" in text
    assert "2030-01-21 (day only)" in text


def test_lists_what_was_refused(config: Path) -> None:
    text = run(config, "--refused")
    assert "1 times: PID is missing (101)" in text
    refusals = PlanRefusals.open(load_settings(config))
    for number in range(12):
        refusals.keep(PlanSource.HL7_SIU, b"admission %d" % number, "200", "only SIU, and not ADT^A08", is_for_us=False)
    text = run(config, "--refused")
    assert "not stored    2 more: only SIU, and not ADT^A08" in text
    assert "11 refused, stored in " in text
    assert "Müller" not in text


def test_metrics_are_counts(config: Path) -> None:
    settings = Settings(state_dir=config.parent / "state")
    registry = CollectorRegistry()
    registry.register(PlansCollector(PlannedOperations.open(settings), PlanRefusals.open(settings)))
    text = generate_latest(registry).decode()
    assert 'bmd_node_planned_operations{source="hl7_siu",status="planned"} 2.0' in text
    assert 'bmd_node_planned_operations{source="hl7_siu",status="cancelled"} 1.0' in text
    assert 'bmd_node_plans_refused{source="hl7_siu"} 1.0' in text
    assert not any(secret in text for secret in SECRETS)


def test_the_intake_is_part_of_the_node_where_it_is_switched_on() -> None:
    assert "intake" not in parts_of(Settings())
    for changes in (
        {"plans_hl7": PlanHl7Settings(enabled=True)},
        {"plans_list": PlanListSettings(folder="/srv/lists")},
        {"plans_fhir": PlanFhirSettings(base_url="https://fhir.example/r4")},
    ):
        assert "intake" in parts_of(Settings(**changes))  # type: ignore[arg-type]


def test_nothing_is_on_by_default(tmp_path: Path) -> None:
    path = tmp_path / "bmd-node.toml"
    path.write_text(f'state_dir = "{tmp_path / "state"}"\n')
    result = CliRunner().invoke(main, ["intake", "--config", str(path)])
    assert result.exit_code == 2
    assert "plans_hl7.enabled" in result.output


@contextmanager
def intake_process(folder: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """``bmd-node intake`` that listens, and its port."""
    port = free_port()
    path = folder / "bmd-node.toml"
    path.write_text(f'state_dir = "{folder / "state"}"\n[plans_hl7]\nenabled = true\nhost = "127.0.0.1"\nport = {port}\n')
    command = [sys.executable, "-m", "node.cli", "intake", "--config", str(path)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        assert any("HL7 listener" in line for line in process.stderr)
        yield process, port
    finally:
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()


def test_what_was_acknowledged_is_there_after_the_process_was_killed(tmp_path: Path) -> None:
    with intake_process(tmp_path) as (process, port):
        sender = Sender(port)
        acknowledged = []
        with suppress(ConnectionError):
            for number in range(100_000):
                sent = Sent("test", VT + message_text(number).encode() + FS_CR, ("AA",))
                assert sender.send(sent) == ("AA",)
                acknowledged.append(f"M{number}")
                if number == 20:
                    process.kill()
    stored = PlannedOperations.open(Settings(state_dir=tmp_path / "state")).message_ids()
    assert len(acknowledged) > 20
    assert set(acknowledged) <= stored
    assert len(stored - set(acknowledged)) <= 1  # one may have been stored, and not answered any more


def test_the_process_takes_messages_names_nobody_in_its_log_and_stops(tmp_path: Path) -> None:
    with intake_process(tmp_path) as (process, port):
        sender = Sender(port)
        for text in (
            message_text(1),
            message_text(2, PID=""),
            message_text(3, SCH="SCH||A3|||||||||^^^Müller"),
            message_text(4, PID="PID|1||4711||\\Z"),
        ):
            sender.send(Sent("test", VT + text.encode() + FS_CR, ("?",)))
        process.send_signal(signal.SIGTERM)
        assert process.stderr is not None
        log = process.stderr.read()
        assert process.wait(60) == 0
    assert "message refused: code=101" in log
    assert not any(secret in log for secret in SECRETS)
    (first, second) = PlannedOperations.open(Settings(state_dir=tmp_path / "state")).current()
    assert {first.key.operation_id, second.key.operation_id} == {"A1^KIS", "A4^KIS"}
