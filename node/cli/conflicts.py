"""``bmd-node conflicts``: images that came again with other content, and which one is right."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path

import click

from node.cli.options import EXIT_CHECK_FAILED, config_option
from node.settings.tree import load_settings

_STUDIES = click.argument("study_instance_uids", metavar="STUDY_INSTANCE_UID...", nargs=-1, required=True)


@click.group()
def conflicts() -> None:
    """List studies of which images came again with other content, and decide which content is right.

    Somebody has corrected them, for example their patient. With study.on_conflict = "hold" the report of the first content
    stands until you decide here; with "take_latest" the latest content is measured without you.
    """


@conflicts.command(name="list")
@config_option
def list_(config: Path | None) -> None:
    """List studies in conflict. Exit status: 0 there are none; 1 there are some; 2 wrong usage."""
    from node.records.conflicts import ConflictRecords

    found = ConflictRecords.open(load_settings(config)).studies()
    for study in found:
        when = datetime.fromtimestamp(study.last_received_s).astimezone().isoformat(sep=" ", timespec="seconds")
        click.echo(f"{when}  {study.study_instance_uid}  {study.n_images} images came again with other content")
    if not found:
        click.echo("no study is in conflict")
    else:
        sys.exit(EXIT_CHECK_FAILED)


@conflicts.command()
@config_option
@_STUDIES
def take(config: Path | None, study_instance_uids: tuple[str, ...]) -> None:
    """Take the latest content: the worker measures it, and its report replaces the earlier one.

    Exit status: 0 done; 1 a study is not in conflict.
    """
    _decide(config, study_instance_uids, "take", "the worker measures the latest content")


@conflicts.command()
@config_option
@_STUDIES
def keep(config: Path | None, study_instance_uids: tuple[str, ...]) -> None:
    """Keep the first content, and its report. Exit status: 0 done; 1 a study is not in conflict."""
    _decide(config, study_instance_uids, "keep", "the report stands")


def _decide(config: Path | None, study_instance_uids: tuple[str, ...], action: str, said: str) -> None:
    from node.records.conflicts import ConflictRecords, ConflictState

    records = ConflictRecords.open(load_settings(config))
    failed = False
    for uid in study_instance_uids:
        if records.decide(uid, ConflictState.WANTED if action == "take" else ConflictState.KEPT):
            click.echo(f"{uid}: {said}")
        else:
            failed = True
            click.echo(f"{uid}: not in conflict", err=True)
    if failed:
        sys.exit(EXIT_CHECK_FAILED)
