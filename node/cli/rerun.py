"""``bmd-node rerun``: measure studies again."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from node.cli.options import EXIT_CHECK_FAILED, config_option, existing_records, study_uids
from node.common.errors import InputError


@click.command()
@config_option
@click.argument("study_instance_uids", metavar="STUDY_INSTANCE_UID...", nargs=-1, required=True, callback=study_uids)
def rerun(config: Path | None, study_instance_uids: tuple[str, ...]) -> None:
    """Have the worker measure studies again, for example with changed settings. Restart the worker first to load them.

    The new report replaces the previous one and refers to it. If nothing has changed, nothing is sent.
    Exit status: 0 done; 1 some studies cannot be measured again, with the reasons; 2 wrong usage.
    """
    from node.receive import ReceivedStudies

    studies = ReceivedStudies.open(existing_records(config))
    failed = False
    for uid in study_instance_uids:
        try:
            studies.ask_for_rerun(uid)
        except InputError as error:
            failed = True
            click.echo(f"cannot be measured again: {error}", err=True)
        else:
            click.echo(f"{uid}: the worker will measure it again")
    if failed:
        sys.exit(EXIT_CHECK_FAILED)
