"""What all tests share: where the real CTs are, and that CI misses nothing."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

# pynetdicom installs programs with the names of dcmtk's (storescu, ...); where tests start one by name they mean dcmtk's
os.environ["PATH"] = os.pathsep.join(
    part for part in os.environ.get("PATH", "").split(os.pathsep) if Path(part) != Path(sys.executable).parent
)

# one of several processes that test at the same time takes one core, or they would stand in each other's way
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


#: Whole folders with one marker; elsewhere a file or a test marks itself.
MARKED = {"tests/system/": "system", "tests/training/": "slow", "tests/worker/": "slow", "tests/upgrade/": "slow"}
#: Others that take more than a few seconds; they need not begin first.
SLOW = (
    *(
        f"tests/{folder}/"
        for folder in (
            "audit",
            "benchmarks",
            "calibrate",
            "docs",
            "doctor",
            "people",
            "phantom",
            "plans",
            "plugins",
            "report",
            "segment",
            "study",
            "watch",
        )
    ),
    *(f"tests/alerts/test_{name}.py" for name in ("alert_stores", "alert_worker", "mail")),
    *(f"tests/measure/test_{name}" for name in ("level_findings", "scan.py", "scan_real", "sick_bodies")),
    *(f"tests/select/test_{name}" for name in ("real_ct", "selection", "volume", "any_series", "budget", "property")),
    "tests/cohort/test_against_r",
    "tests/research/test_e",
    *(f"tests/receive/test_{name}" for name in ("listener", "door", "tls", "quiet_studies", "storage_commitment")),
    *(f"tests/deliver/test_{name}" for name in ("ladder", "send", "tls")),
    *(f"tests/web/test_{name}.py" for name in ("access", "oidc", "people_pages")),
    *(
        f"tests/{name}"
        for name in (
            "calibrate/test_rods",
            "deploy/test_containers",
            "plans/test_commands",
            "cli/test_forked",
            "cli/test_users",
        )
    ),
)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The folders that take longest begin first, or one process would still work on them when the other has nothing left."""
    for item in items:
        for folder, marker in MARKED.items():
            if item.nodeid.startswith(folder):
                item.add_marker(marker)
        if item.nodeid.startswith(SLOW):
            item.add_marker("slow")
    items.sort(key=lambda item: not item.nodeid.startswith(tuple(MARKED)))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name what CI skipped although it should have run it."""
    missed = _missed(terminalreporter)
    if missed:
        terminalreporter.section("skipped, but CI must run it")
        for report in missed:
            terminalreporter.line(f"{report.nodeid}: {report.longrepr}")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """On CI a skip is a failure, unless the real CTs and tables that the test needs are not kept there."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and _missed(reporter) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _missed(reporter: pytest.TerminalReporter) -> list[pytest.TestReport]:
    if os.environ.get("CI") != "true":
        return []
    skipped = reporter.stats.get("skipped", [])
    return [report for report in skipped if DATA.is_dir() or "shared/" not in str(report.longrepr)]
