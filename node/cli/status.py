"""``bmd-node status``: show the state of the latest studies."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import click

from node.cli.options import config_option, existing_records


@click.command()
@config_option
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="Number of runs.")
def status(config: Path | None, limit: int) -> None:
    """Show the state of the latest studies, with reasons and deliveries."""
    from node.records.runs import RunRecords

    for run in RunRecords.open(existing_records(config)).runs(limit):
        when = datetime.fromtimestamp(run.queued_s).astimezone().isoformat(sep=" ", timespec="seconds")
        click.echo(f"{when}  {run.state:12} {run.step:10} {run.study_instance_uid}")
        if run.said:
            click.echo(f"    {run.said}")
        for delivery in run.deliveries:
            click.echo(
                f"    to {delivery.destination}: {delivery.state}, attempt {delivery.attempts} {delivery.detail}".rstrip()
            )
            if delivery.commitment:
                click.echo(f"        storage commitment: {delivery.commitment}")
