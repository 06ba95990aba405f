"""A node that takes plans in, as long as a test runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from node.clinical.planned_operation import PlannedOperation
from node.demo.pacs import free_port
from node.plans import serve_intake
from node.records.plan_refusals import PlanRefusals, Refusal
from node.records.planned_operations import PlannedOperations
from node.settings.plans import PlanHl7Settings
from node.settings.tree import Settings
from tests.receive.conftest import postgres_url

__all__ = ["postgres_url"]


@dataclass(frozen=True)
class Intake:
    """A running intake with its HL7 listener.

    Attributes:
        port: of the listener.
        stop: ends it, and returns when it has ended.
    """

    settings: Settings
    port: int
    stop: Callable[[], None]

    @property
    def known(self) -> tuple[PlannedOperation, ...]:
        """The planned operations."""
        return PlannedOperations.open(self.settings).current()

    @property
    def refused(self) -> tuple[Refusal, ...]:
        """What was refused."""
        return PlanRefusals.open(self.settings).refusals()

    @property
    def refused_contents(self) -> list[bytes]:
        """The files of what was refused."""
        return sorted(path.read_bytes() for path in (self.settings.state_dir / "refused-plans").iterdir())


StartIntake = Callable[..., Intake]


@contextmanager
def running_intake(state_dir: Path, **changes: object) -> Iterator[Intake]:
    """An intake that ends with the block, if nothing has ended it before."""
    hl7 = PlanHl7Settings.model_validate({"enabled": True, "host": "127.0.0.1", "port": free_port(), **changes})
    settings = Settings(state_dir=state_dir, plans_hl7=hl7)
    stop, started = threading.Event(), threading.Event()
    thread = threading.Thread(target=serve_intake, args=(settings, stop, started.set))
    thread.start()
    assert started.wait(60)

    def end() -> None:
        stop.set()
        thread.join(60)
        assert not thread.is_alive()

    yield Intake(settings, hl7.port, end)
    end()


@pytest.fixture
def start_intake(tmp_path: Path) -> Iterator[StartIntake]:
    with ExitStack() as stack:
        yield lambda **changes: stack.enter_context(running_intake(tmp_path / "state", **changes))
