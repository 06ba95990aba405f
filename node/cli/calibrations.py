"""``bmd-node calibrations``: list the equations, explain which one a CT gets, approve an entry."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path

import click

from node.cli.options import config_option
from node.settings.tree import load_settings

EXIT_NO_EQUATION = 3


@click.group(invoke_without_command=True)
@config_option
@click.pass_context
def calibrations(ctx: click.Context, config: Path | None) -> None:
    """List the HU-to-BMD equations, shipped and of the site, with their scanners and conditions.

    docs/calibration.md describes the entries and how one is chosen. `explain` shows which one a CT gets.
    """
    from node.calibrate import listing, load_registry

    ctx.obj = config
    if ctx.invoked_subcommand is None:
        registry = load_registry(load_settings(config).calibrate.site_equations)
        click.echo("\n".join(listing(registry, datetime.now().astimezone().date())))


@calibrations.command()
@click.argument("folder", type=click.Path(path_type=Path))
@config_option
@click.pass_obj
def explain(group_config: Path | None, folder: Path, config: Path | None) -> None:
    """Show which equation each measurable CT series in FOLDER gets, and why the others do not fit.

    FOLDER contains one study. One line per entry; series that cannot be measured are listed with the reason. Nothing is
    measured or written.
    Exit status: 0 at least one series gets an equation; 3 none does; 2 wrong usage or unreadable input.
    """
    from node.calibrate import explanation, load_registry
    from node.model import Calibration
    from node.select import find_dicom, select_series

    settings = load_settings(config or group_config)
    registry = load_registry(settings.calibrate.site_equations)
    selection = select_series(find_dicom(folder), settings.select)
    if settings.calibrate.simultaneous is not None:
        click.echo(f"the rods of {settings.calibrate.simultaneous} beneath the patient go first, if the image shows them")
    for candidate in selection.candidates:
        click.echo("\n".join(explanation(registry, candidate.facts)))
    for left_out in selection.left_out:
        click.echo(f"series {left_out.series_instance_uid}: not measurable: {left_out.detail} [{left_out.code}]")
    if not any(isinstance(registry.match(candidate.facts), Calibration) for candidate in selection.candidates):
        sys.exit(EXIT_NO_EQUATION)


@calibrations.command()
@click.argument("entry_id", metavar="ID")
@click.option("--by", required=True, help="Name of the person who approves the entry for patients.")
@click.option("--on", type=click.DateTime(["%Y-%m-%d"]), help="Day of the approval [default: today].")
@click.option("--site-file", type=click.Path(path_type=Path, dir_okay=False), help="Instead of calibrate.site_equations.")
@config_option
@click.pass_obj
def approve(
    group_config: Path | None, entry_id: str, by: str, on: datetime | None, site_file: Path | None, config: Path | None
) -> None:
    """Approve the pending entry ID.

    The whole registry is checked first; if anything is wrong, nothing changes. Takes effect when the node restarts.
    """
    from node.calibrate import approve_entry

    site = site_file or load_settings(config or group_config).calibrate.site_equations
    entry = approve_entry(site, entry_id, by, (on or datetime.now().astimezone()).date())
    click.echo(f"{entry.id} is active, approved by {entry.approved_by} on {entry.approved_on}")
    for doubt in entry.doubts:
        click.echo(f"{entry.id}: {doubt}", err=True)
