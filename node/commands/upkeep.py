"""Commands for those who look after a node: ``bmd-node stability`` and ``bmd-node recalculate``."""

from __future__ import annotations

import sys
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from node.commands.options import EXIT_CHECK_FAILED, config_option, log_to_stderr
from node.errors import ConfigurationError, InputError
from node.settings.tree import load_settings

if TYPE_CHECKING:
    from node.stability import ScannerTrends

_DAY = click.DateTime(["%Y-%m-%d"])


@click.command()
@config_option
@click.option("--since", type=_DAY, help="Only scans made on this day or later; the first of them are the baseline.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Folder for a plot (PNG) per scanner.")
def stability(config: Path | None, since: datetime | None, out: Path | None) -> None:
    """Show whether the scanners still measure as they did, from what every scan says of its scanner.

    One table per scanner and tube voltage: number of scans, first and last date, median, slope per year, and the latest
    scans against the first ones. The limits stand in the section [stability] of the settings.
    Exit status: 0 no scanner drifts; 1 one does; 2 wrong usage.
    """
    from node.records.scans import ScanRecords
    from node.stability import scanner_trends, stability_table

    settings = load_settings(config)
    scans = ScanRecords.open(settings).scans(_day(since))
    found = scanner_trends(scans, settings.stability)
    for scanner in found:
        click.echo(stability_table(scanner))
    if out is not None and found:
        _plots(found, out)
    undated = sum(scan.acquisition_date is None for scan in scans)
    if undated:
        click.echo(f"{undated} scans without a date are left out")
    if not found:
        click.echo("no scan with readings and a date is known yet")
    if any(scanner.drifts for scanner in found):
        sys.exit(EXIT_CHECK_FAILED)


@click.command()
@config_option
@click.option("--since", type=_DAY, required=True, help="Studies that the node got on this day (local time) or later.")
@click.option("--equation", "equation_id", metavar="ID", help="Only where this is the equation, before or after.")
@click.option("--dry-run", is_flag=True, help="Only list what would be issued again.")
def recalculate(config: Path | None, since: datetime, equation_id: str | None, dry_run: bool) -> None:
    """Issue new reports where the equation of a study would be another one today.

    For equations that were corrected, approved, replaced, or that expired. Nothing is measured again: kept HU are converted,
    and a structured report and a summary page that replace the old ones go to every destination; the worker sends them.
    Start the worker anew first, so that new studies get the same equations. One line per study: equation, BMD, category.
    Exit status: 0 done, or nothing to do; 1 some studies cannot be recalculated, with the reasons; 2 wrong usage.
    """
    from node.recalculate import Recalculator
    from node.workflow import Rooms

    settings = load_settings(config)
    log_to_stderr(settings.log_level)
    recalculator = Recalculator(settings, Rooms(settings))
    plan = recalculator.plan(since.astimezone(), equation_id)
    failed = [f"{one.study_instance_uid}: {one.detail}" for one in plan.not_recalculable]
    n_issued = 0
    for change in plan.changes:
        click.echo(str(change))
        if not dry_run:
            try:
                recalculator.issue(change)
            except InputError as error:
                failed.append(f"{change.recalculation.study_instance_uid}: {error}")
                continue
        n_issued += 1
    for line in failed:
        click.echo(f"cannot be recalculated, send the study again: {line}", err=True)
    done = "would be issued again" if dry_run else "issued again, the worker sends them"
    click.echo(f"{n_issued} reports {done}; {plan.n_unchanged} unchanged; {len(failed)} cannot be recalculated")
    if failed:
        sys.exit(EXIT_CHECK_FAILED)


@click.command()
@config_option
@click.argument("study_instance_uids", metavar="STUDY_INSTANCE_UID...", nargs=-1, required=True)
def rerun(config: Path | None, study_instance_uids: tuple[str, ...]) -> None:
    """Have the worker measure studies again, for instance with other settings; start it anew first, so that it has them.

    A new report names the one before as what it replaces. Where nothing has changed nothing new is sent.
    Exit status: 0 done; 1 some studies cannot be measured again, with the reasons; 2 wrong usage.
    """
    from node.receive import ReceivedStudies

    studies = ReceivedStudies.open(load_settings(config))
    failed = False
    for uid in study_instance_uids:
        try:
            studies.ask_for_rerun(uid)
        except InputError as error:
            failed = True
            click.echo(f"cannot be measured again: {error}", err=True)
        else:
            click.echo(f"{uid}: is measured again by the worker")
    if failed:
        sys.exit(EXIT_CHECK_FAILED)


def _plots(found: tuple[ScannerTrends, ...], out: Path) -> None:
    from node.stability_plot import write_plot

    try:
        out.mkdir(parents=True, exist_ok=True)
        for number, scanner in enumerate(found, start=1):
            click.echo(f"plot: {write_plot(scanner, number, out)}")
    except OSError as error:
        raise ConfigurationError(f"--out {out} cannot be written: {error.strerror}") from error


def _day(day: datetime | None) -> date | None:
    return None if day is None else day.date()
