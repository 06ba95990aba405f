"""``bmd-node settings``: all settings with their values."""

from __future__ import annotations

from pathlib import Path

import click

from node.cli.options import config_option
from node.settings.tree import load_settings


@click.command()
@config_option
def settings(config: Path | None) -> None:
    """Print all settings with their current values."""
    click.echo(load_settings(config).model_dump_json(indent=2))
