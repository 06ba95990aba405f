"""Shared parts of the commands: the settings option, exit statuses, logging."""

from __future__ import annotations

import functools
import logging
import os
import signal
import sys
import threading
from pathlib import Path

import click

from node.common.errors import ConfigurationError
from node.common.quiet import keep_values_out_of_logs
from node.settings.renamed import say_remembered
from node.settings.tree import Settings, load_settings

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)

EXIT_NOT_MEASURED = 3
EXIT_USAGE = 2
EXIT_CHECK_FAILED = 1

DAY = click.DateTime(["%Y-%m-%d"])

config_option = click.option(
    "--config",
    envvar="BMD_NODE_CONFIG",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Settings file [default: environment variable BMD_NODE_CONFIG, else bmd-node.toml if it exists].",
)


def study_uids(_context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    """Refuse what cannot be a Study Instance UID (PS3.5 9.1), such as an accession number.

    Raises:
        click.BadParameter: names the first that is none.
    """
    from pydicom import config
    from pydicom.uid import UID

    for value in values:
        if not UID(value, validation_mode=config.IGNORE).is_valid:
            raise click.BadParameter(
                f"{value} is not a Study Instance UID (digits and dots, at most 64 characters). If it is an accession "
                "number, look up the UID in the PACS or on the status page"
            )
    return values


def existing_records(config: Path | None) -> Settings:
    """Load the settings for a command that uses an existing database. Creates no state directory and no database.

    Raises:
        ConfigurationError: the settings are wrong, or their database does not exist.
    """
    settings = load_settings(config)
    file = settings.state_dir.absolute() / "bmd-node.sqlite"
    if settings.database_url is None and not file.exists():
        raise ConfigurationError(
            f"there is no database {file}: give the settings of the node with --config, or start the node, which creates it"
        )
    return settings


def log_to_stderr(level: str) -> None:
    """Log to stderr from this level on; libraries log below WARNING only at level DEBUG, and never the values of a file."""
    logging.basicConfig(level=level, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True)
    for name in ("alembic", "dbos", "dicomweb_client", "matplotlib"):
        logging.getLogger(name).setLevel(logging.WARNING if level != "DEBUG" else logging.DEBUG)
    keep_values_out_of_logs()
    say_remembered()


def stop_on_signal() -> threading.Event:
    """Return an event that is set by SIGTERM, SIGINT, or the end of the parent process."""
    from node.supervisor import stop_with_parent

    stop = threading.Event()
    for number in _STOP_SIGNALS:
        signal.signal(number, lambda *_: stop.set())
    _let_forked_children_end()
    stop_with_parent(stop)
    return stop


@functools.cache
def _let_forked_children_end() -> None:
    """Let SIGTERM end the forked helper processes of a library (nnU-Net).

    With the inherited handler they would ignore the signal, and the library would wait forever.
    """
    mask = threading.local()

    def hold() -> None:
        # block signals until the child has its own handlers
        mask.before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)

    def let() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask.before)

    def let_end() -> None:
        for number in _STOP_SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        let()

    os.register_at_fork(before=hold, after_in_parent=let, after_in_child=let_end)
