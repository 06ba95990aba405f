"""What the commands of ``bmd-node`` share: the settings option, exit statuses, where the log goes."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import click

EXIT_NOT_MEASURED = 3
EXIT_USAGE = 2
EXIT_CHECK_FAILED = 1

config_option = click.option(
    "--config",
    envvar="BMD_NODE_CONFIG",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Settings file [default: BMD_NODE_CONFIG of the environment, else bmd-node.toml, if it is there].",
)


def log_to_stderr(level: str) -> None:
    """Log from this severity on; what libraries tell of their routine belongs into a debugging session."""
    logging.basicConfig(level=level, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True)
    for name in ("dbos", "pynetdicom", "pydicom", "highdicom", "matplotlib"):
        logging.getLogger(name).setLevel(logging.WARNING if level != "DEBUG" else logging.DEBUG)
