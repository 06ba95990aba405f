"""``bmd-node settings``: every setting with its value."""

from __future__ import annotations

from pathlib import Path

import click

from node.cli.options import config_option
from node.settings.tree import load_settings


@click.command()
@config_option
def settings(config: Path | None) -> None:
    """Print every setting with its value in use."""
    click.echo(load_settings(config).model_dump_json(indent=2))
