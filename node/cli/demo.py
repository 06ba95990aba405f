"""``bmd-node demo``: the complete workflow on one machine."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from node.cli.options import EXIT_NOT_MEASURED


@click.command()
@click.option("--ct", type=click.Path(path_type=Path, exists=True), help="Send this CT instead of a digital phantom.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("demo"),
    show_default=True,
    help="Folder for everything the demo creates.",
)
@click.option(
    "--density",
    type=float,
    default=75.0,
    show_default=True,
    help="BMD of the phantom in mg/cm3 (L2; the other levels differ slightly).",
)
def demo(ct: Path | None, out: Path, density: float) -> None:
    """Show the complete workflow: send a CT to the node, get SEG, SR and summary page back in a PACS."""
    from node.demo import run_demo

    if not run_demo(ct, out, density, click.echo):
        sys.exit(EXIT_NOT_MEASURED)
