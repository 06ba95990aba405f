"""``bmd-node recalculate``: reissue reports with the current equations."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path

import click

from node.cli.options import DAY, EXIT_CHECK_FAILED, config_option, existing_records, log_to_stderr
from node.common.errors import InputError


@click.command()
@config_option
@click.option("--since", type=DAY, required=True, help="Studies that the node received on this day (local time) or later.")
@click.option("--equation", "equation_id", metavar="ID", help="Only studies whose old or new equation is this one.")
@click.option("--dry-run", is_flag=True, help="List the reports that would be reissued; change nothing.")
def recalculate(config: Path | None, since: datetime, equation_id: str | None, dry_run: bool) -> None:
    """Issue new reports for studies whose equation has changed.

    An equation changes if it is corrected, approved or replaced, or if it expires. Nothing is measured again: the stored HU
    are converted, and the worker sends a new structured report and summary page, which replace the old ones, to every
    destination. Restart the worker first, so that new studies get the same equations. Prints one line per study: equation,
    BMD, category.
    Exit status: 0 done, or nothing to do; 1 some studies cannot be recalculated, with the reasons; 2 wrong usage.
    """
    from node.study.pipeline import Pipeline
    from node.study.recalculation import Recalculator

    settings = existing_records(config)
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
        click.echo(f"cannot be recalculated, resend the study: {line}", err=True)
    done = "would be reissued" if dry_run else "reissued, the worker sends them"
    click.echo(f"{n_issued} reports {done}; {plan.n_unchanged} unchanged; {len(failed)} cannot be recalculated")
    if failed:
        sys.exit(EXIT_CHECK_FAILED)
