"""``bmd-node destinations``: the SOP classes that each destination accepts, and resending."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path

import click

from node.cli.options import EXIT_CHECK_FAILED, config_option, existing_records
from node.common.errors import ConfigurationError, RejectedError, TransportError


@click.command()
@config_option
@click.option("--ask", is_flag=True, help="Ask every destination now which SOP classes it accepts; sends no objects.")
@click.option(
    "--ask-again",
    metavar="NAME",
    help="Forget the refusals of this destination, and resend what it refused.",
)
def destinations(config: Path | None, ask: bool, ask_again: str | None) -> None:
    """Show the SOP classes that each destination accepts or refuses, and since when.

    The node learns this with every delivery. With --ask-again the worker resends what was refused.
    Exit status: 0 done; 1 with --ask, a destination cannot be reached, with the reason; 2 wrong usage.
    """
    from node.deliver.deliverer import Deliverer, destination_of, send_again_what_was_refused
    from node.model.object_kinds import sop_class_name
    from node.records.destinations import DestinationRecords, address_of

    settings = existing_records(config)
    if ask_again is not None:
        destination = destination_of(settings, ask_again)
        if destination is None:
            names = ", ".join(known.name for known in settings.destinations) or "none"
            raise ConfigurationError(f"--ask-again: there is no destination {ask_again}; the settings have: {names}")
        count = send_again_what_was_refused(settings, destination)
        click.echo(f"{ask_again}: the worker resends {count} results")
    known, deliverer = DestinationRecords.open(settings), Deliverer(settings)
    failed = False
    for destination in settings.destinations:
        click.echo(f"{destination.name} ({address_of(destination)})")
        if ask:
            try:
                deliverer.learn(destination)
            except (TransportError, RejectedError) as error:
                failed = True
                click.echo(f"    cannot be asked: {error}")
        abilities = known.abilities(destination)
        for one in abilities:
            since = datetime.fromtimestamp(one.since_s).astimezone().isoformat(sep=" ", timespec="seconds")
            answer = str(one.ability.answer).replace("_", " ")
            click.echo(f"    {answer:16} {sop_class_name(one.ability.sop_class_uid)}, since {since}")
        if not abilities:
            click.echo("    not known yet: nothing has been sent to it")
    if not settings.destinations:
        click.echo("the settings have no destination")
    if failed:
        sys.exit(EXIT_CHECK_FAILED)
