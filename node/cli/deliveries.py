"""``bmd-node deliveries``: list, retry or drop work that was given up."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path

import click

from node.cli.options import EXIT_CHECK_FAILED, config_option, existing_records

_IDS = click.argument("work_ids", metavar="ID...", nargs=-1)
_ALL = click.option("--all", "with_all", is_flag=True, help="All work that was given up.")


@click.group()
def deliveries() -> None:
    """List, retry or drop deliveries, alerts and studies that were given up.

    Deliveries to an unreachable destination are retried forever. A delivery that the destination refuses repeatedly
    (deliver.give_up_after), or a study that crashes three times, is given up, so that other work continues.
    """


@deliveries.command(name="list")
@config_option
@click.option("--waiting", is_flag=True, help="Also list work that waits for its next attempt.")
def list_(config: Path | None, waiting: bool) -> None:
    """List work that was given up, with the reason. Exit status: 0 there is none; 1 there is some; 2 wrong usage."""
    from node.records.work import WorkRecords, WorkState

    records = WorkRecords.open(existing_records(config))
    given_up = records.in_state(WorkState.GIVEN_UP)
    shown = [*given_up, *(records.in_state(WorkState.WAITING) if waiting else ())]
    for work in shown:
        when = datetime.fromtimestamp(work.updated_s).astimezone().isoformat(sep=" ", timespec="seconds")
        click.echo(f"{when}  {str(work.state).replace('_', ' '):9} {work.work_id}  after {work.rounds} attempts")
        if work.detail:
            click.echo(f"    {work.detail}")
    if not shown:
        click.echo("nothing is waiting or given up" if waiting else "nothing was given up")
    if given_up:
        sys.exit(EXIT_CHECK_FAILED)


@deliveries.command()
@config_option
@_ALL
@_IDS
def retry(config: Path | None, with_all: bool, work_ids: tuple[str, ...]) -> None:
    """Retry work that was given up; the worker starts within seconds. Exit status: 0 done; 1 an ID is not given up."""
    _change(config, with_all, work_ids, "retry", "will be retried")


@deliveries.command()
@config_option
@_ALL
@_IDS
def drop(config: Path | None, with_all: bool, work_ids: tuple[str, ...]) -> None:
    """Drop work that was given up; results stay in their folders. Exit status: 0 done; 1 an ID is not given up."""
    _change(config, with_all, work_ids, "drop", "dropped")


def _change(config: Path | None, with_all: bool, work_ids: tuple[str, ...], action: str, said: str) -> None:
    from node.receive import ReceivedStudies
    from node.records.work import WorkKind, WorkRecords, WorkState

    if with_all == bool(work_ids):
        raise click.UsageError("give IDs from `bmd-node deliveries list`, or --all")
    settings = existing_records(config)
    records = WorkRecords.open(settings)
    known = {work.work_id: work for work in records.in_state(WorkState.GIVEN_UP)}
    failed = False
    for work_id in known if with_all else work_ids:
        if not (records.retry(work_id) if action == "retry" else records.drop(work_id)):
            failed = True
            click.echo(f"{work_id}: not given up", err=True)
            continue
        if action == "drop" and known[work_id].kind is WorkKind.STUDY:
            # retention may remove its images from now on
            ReceivedStudies.open(settings).mark_run_finished(known[work_id].subject)
        click.echo(f"{work_id}: {said}")
    if failed:
        sys.exit(EXIT_CHECK_FAILED)
