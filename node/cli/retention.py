"""``bmd-node retention``: what the next housekeeping of the worker removes."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from node.cli.options import config_option, existing_records


@click.command()
@config_option
def retention(config: Path | None) -> None:
    """List what the next housekeeping removes, by the settings study.keep_days and [retention]; removes nothing.

    The worker does its housekeeping every hour, and when it starts. Planned operations are removed by the intake, by
    plans.keep_days. To remove a patient, see bmd-node erase.
    """
    from node.worker.housekeeping import Housekeeping

    settings = existing_records(config)
    due, kept = Housekeeping(settings).due(datetime.now(UTC)), settings.retention
    lines = (
        (due.n_images, "received images", "study.keep_days", settings.study.keep_days),
        (len(due.results), "folders of results, with their alerts", "retention.results_days", kept.results_days),
        (len(due.studies), "studies: their records", "retention.runs_days", kept.runs_days),
        (len(due.workflow_ids), "finished workflows", "retention.workflows_days", kept.workflows_days),
        (due.n_work, "pieces of finished work", "retention.workflows_days", kept.workflows_days),
        (due.n_associations, "ended associations", "retention.associations_days", kept.associations_days),
    )
    for n, what, name, days in lines:
        click.echo(f"{n:8} {what} ({name} = {days:g})")
    for uid in due.studies:
        click.echo(f"records of study {uid}")
    for run_id in due.results:
        click.echo(f"results of run {run_id}")
