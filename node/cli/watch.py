"""``bmd-node watch``: mails administrators when something is wrong with the node."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from node.cli.options import EXIT_CHECK_FAILED, config_option, existing_records, log_to_stderr, stop_on_signal
from node.common.errors import ConfigurationError
from node.settings.tree import load_settings


@click.command()
@config_option
@click.option("--once", is_flag=True, help="Look once, mail what is to be told, print what is wrong, and end.")
def watch(config: Path | None, once: bool) -> None:
    """Run only the watch: mail the administrators (watch.recipients) when something is wrong with the node.

    It is part of `bmd-node serve`. With --once, a timer can run it, also while the node is down. Something is told once, and
    once when it is over, however many look.
    Exit status with --once: 0 nothing is wrong, 1 something is, 2 wrong usage or settings.
    """
    from node.watch import Watch, serve_watch

    settings = existing_records(config) if once else load_settings(config)
    if not settings.watch.recipients:
        raise ConfigurationError("watch.recipients is empty: set the addresses of the administrators")
    log_to_stderr(settings.log_level)
    if not once:
        serve_watch(settings, stop_on_signal())
        return
    wrong = Watch(settings).look()
    for one in wrong:
        click.echo(one.said)
    if wrong:
        sys.exit(EXIT_CHECK_FAILED)
