"""``bmd-node recalculate``: new reports with the current equations."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path

import click

from node.cli.options import DAY, EXIT_CHECK_FAILED, config_option, log_to_stderr
from node.common.errors import InputError
from node.settings.tree import load_settings


@click.command()
@config_option
@click.option("--since", type=DAY, required=True, help="Studies that the node got on this day (local time) or later.")
@click.option("--equation", "equation_id", metavar="ID", help="Only where this is the equation, before or after.")
@click.option("--dry-run", is_flag=True, help="Only list what would be issued again.")
def recalculate(config: Path | None, since: datetime, equation_id: str | None, dry_run: bool) -> None:
    """Issue new reports where the equation of a study would be another one today.

    For equations that were corrected, approved, replaced, or that expired. Nothing is measured again: kept HU are converted,
    and a structured report and a summary page that replace the old ones go to every destination; the worker sends them.
    Start the worker anew first, so that new studies get the same equations. One line per study: equation, BMD, category.
    Exit status: 0 done, or nothing to do; 1 some studies cannot be recalculated, with the reasons; 2 wrong usage.
    """
    from node.study.pipeline import Pipeline
    from node.study.recalculation import Recalculator

    settings = load_settings(config)
    log_to_stderr(settings.log_level)
    recalculator = Recalculator(settings, Pipeline(settings))
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
