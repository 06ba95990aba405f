"""``bmd-node status``: show the state of the latest studies, or what became of one."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path

import click

from node.cli.options import EXIT_CHECK_FAILED, config_option, existing_records, study_uids


def _study_uid(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    return None if value is None else study_uids(context, parameter, (value,))[0]


@click.command()
@config_option
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="Number of runs.")
@click.option("--accession", metavar="NUMBER", help="Only studies with this accession number.")
@click.option("--patient-id", metavar="ID", help="Only studies of this Patient ID, whoever has issued it.")
@click.option("--study", metavar="UID", callback=_study_uid, help="Only the study with this Study Instance UID.")
def status(config: Path | None, limit: int, accession: str | None, patient_id: str | None, study: str | None) -> None:
    """Show the state of the latest studies, with reasons and deliveries.

    With --accession, --patient-id or --study: one sentence for each study that has this number, whether it was measured,
    or why not. Exit status: 0 found; 1 never received; 2 wrong usage.
    """
    given = [option for option in (accession, patient_id, study) if option is not None]
    if len(given) > 1:
        raise click.UsageError("give one of --accession, --patient-id and --study")
    if given:
        if not given[0].strip():
            raise click.UsageError("the number is empty")
        _show_one(config, accession, patient_id, given[0])
        return
    _show_latest(config, limit)


def _show_one(config: Path | None, accession: str | None, patient_id: str | None, number: str) -> None:
    from node.records.study_keys import Number
    from node.study.find import StudyFinder

    kind = Number.ACCESSION if accession is not None else Number.PATIENT_ID if patient_id is not None else Number.STUDY
    found = StudyFinder.open(existing_records(config)).find(kind, number)
    for one in found.studies:
        click.echo(f"{one.study_instance_uid}: {one.sentence}")
    if found.never:
        click.echo(found.never)
        sys.exit(EXIT_CHECK_FAILED)


def _show_latest(config: Path | None, limit: int) -> None:
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
