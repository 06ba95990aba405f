"""``bmd-node doctor``: what stands in the way of running with these settings, and what to do about it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from node.calibrate import load_registry
from node.calibration_phantoms import named_phantom
from node.errors import ConfigurationError
from node.scan_records import ScanRecords
from node.segment import load_segmenter
from node.settings import Settings, load_settings
from node.stability import scanner_name, scanner_trends


class Outcome(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """Result of one check.

    Attributes:
        check: what was looked at, in a word or two.
        outcome: an error keeps the node from doing its work, a warning may do so later.
        detail: what was found; with a warning or an error also what to do.
    """

    check: str
    outcome: Outcome
    detail: str

    def __str__(self) -> str:
        return f"{self.outcome:8} {self.check}: {self.detail}"


def examine(config: Path | None) -> tuple[Finding, ...]:
    """All checks, in the order in which they should be mended. Without readable settings there is no other.

    Args:
        config: settings file, as for :func:`node.settings.load_settings`.
    """
    try:
        settings = load_settings(config)
    except ConfigurationError as error:
        return (Finding("settings", Outcome.ERROR, str(error)),)
    source = config or ("bmd-node.toml" if Path("bmd-node.toml").is_file() else "no file: built-in values")
    return (Finding("settings", Outcome.OK, str(source)), *(check(settings) for check in CHECKS))


def check_segmenter(settings: Settings) -> Finding:
    """Whether the chosen segmenter can run."""
    try:
        segmenter = load_segmenter(settings.segment)
    except ConfigurationError as error:
        return Finding("segmenter", Outcome.ERROR, str(error))
    return Finding("segmenter", Outcome.OK, f"{segmenter.name} {segmenter.version}")


def check_equations(settings: Settings) -> Finding:
    """Whether the equations can be read; which of them wait for a person."""
    try:
        registry = load_registry(settings.calibrate.site_equations)
        beneath = named_phantom(settings.calibrate.simultaneous)
    except ConfigurationError as error:
        return Finding("equations", Outcome.ERROR, str(error))
    own = settings.calibrate.site_equations
    pending, expired = registry.pending(), registry.expired(datetime.now().astimezone().date())
    parts = [f"{len(registry.equations)}", f"with those of {own}" if own else "as shipped"]
    parts += [f"{len(found)} {word}" for found, word in ((pending, "pending"), (expired, "expired")) if found]
    if beneath is not None:
        parts.append(f"rods of {beneath.title} beneath the patient go first")
    todo = []
    if unapproved := registry.unapproved():
        names = ", ".join(equation.id for equation in unapproved)
        todo.append(f"nobody is named who approved {names}: write approved_by and approved_on")
    if expired:
        names = ", ".join(equation.id for equation in expired)
        todo.append(f"new CTs no longer get {names}: calibrate again and enter the new fit")
    todo += [f"{equation.id}: {doubt}" for equation in registry.equations for doubt in equation.doubts]
    outcome = Outcome.WARNING if todo else Outcome.OK
    return Finding("equations", outcome, "; ".join([", ".join(parts), *todo]))


def check_state_directory(settings: Settings) -> Finding:
    """Whether the state directory, or the one in which it is going to be made, can be written and has room."""
    name, state = "state directory", settings.state_dir.absolute()
    there = next(path for path in (state, *state.parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        detail = f"{there} cannot be written ({error.strerror}): give the node's user the right, or set state_dir"
        return Finding(name, Outcome.ERROR, detail)
    free_mb, needed_mb = shutil.disk_usage(there).free // 2**20, settings.listener.min_free_disk_mb
    if free_mb < needed_mb:
        detail = (
            f"{free_mb} MB free in {there}, below min_free_disk_mb ({needed_mb}): images are refused until there is room"
        )
        return Finding(name, Outcome.WARNING, detail)
    return Finding(name, Outcome.OK, f"{state}, {free_mb} MB free{'' if there == state else ', will be made'}")


def check_scanners(settings: Settings) -> Finding:
    """Whether the readings of a scanner drift; without a database there is nothing to read, and none is made."""
    name = "scanners"
    if settings.database_url is None and not (settings.state_dir / "bmd-node.sqlite").exists():
        return Finding(name, Outcome.OK, "no scan is known yet")
    try:
        found = scanner_trends(ScanRecords.open(settings).scans(), settings.stability)
    except ConfigurationError as error:
        return Finding(name, Outcome.ERROR, str(error))
    drifting = [f"{scanner_name(one.scanner)}: {', '.join(one.drifts)}" for one in found if one.drifts]
    if drifting:
        todo = "look at bmd-node stability --out DIR, check the scanner, calibrate again"
        return Finding(name, Outcome.WARNING, "; ".join([*drifting, todo]))
    return Finding(name, Outcome.OK, f"{len(found)} with scans, none of them drifts" if found else "no scan is known yet")


#: What is checked once the settings are read, in the order of the report.
CHECKS: tuple[Callable[[Settings], Finding], ...] = (
    check_segmenter,
    check_equations,
    check_state_directory,
    check_scanners,
)
