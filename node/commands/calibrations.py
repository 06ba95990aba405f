"""Commands of the calibration: the list of equations, what a CT gets, a phantom scan, an approval."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path

import click

from node.settings.tree import load_settings

EXIT_NO_EQUATION = 3

_config = click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Settings file [default: bmd-node.toml, if it is there].",
)


@click.group(invoke_without_command=True)
@_config
@click.pass_context
def calibrations(ctx: click.Context, config: Path | None) -> None:
    """List the HU-to-BMD equations, shipped and of the site, with whom and what they are for.

    Entries and the rule by which one is chosen are described in docs/calibration.md. `explain` says which one a CT gets.
    """
    from node.calibrate import listing, load_registry

    ctx.obj = config
    if ctx.invoked_subcommand is None:
        registry = load_registry(load_settings(config).calibrate.site_equations)
        click.echo("\n".join(listing(registry, datetime.now().astimezone().date())))


@calibrations.command()
@click.argument("folder", type=click.Path(path_type=Path))
@_config
@click.pass_obj
def explain(group_config: Path | None, folder: Path, config: Path | None) -> None:
    """Say which equation each measurable CT series in FOLDER gets, and why each of the others does not fit.

    FOLDER holds one study. One line per entry; series that cannot be measured are named with their reason. Nothing is
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
@click.option("--site-file", type=click.Path(path_type=Path, dir_okay=False), help="Instead of the one in the settings.")
@_config
@click.pass_obj
def approve(
    group_config: Path | None, entry_id: str, by: str, on: datetime | None, site_file: Path | None, config: Path | None
) -> None:
    """Make the pending entry ID usable, under the name of who approves it.

    The whole registry is checked first; if anything is wrong, nothing is changed. Counts from the next start of the node.
    """
    from node.calibrate import approve_entry

    site = site_file or load_settings(config or group_config).calibrate.site_equations
    entry = approve_entry(site, entry_id, by, (on or datetime.now().astimezone()).date())
    click.echo(f"{entry.id} is active, approved by {entry.approved_by} on {entry.approved_on}")
    for doubt in entry.doubts:
        click.echo(f"{entry.id}: {doubt}", err=True)


@click.command()
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--phantom", "phantom_name", help="Calibration phantom: one of the names above.")
@click.option(
    "--rods", type=click.Path(path_type=Path, dir_okay=False), help="Instead: a file that describes your own phantom."
)
@click.option(
    "--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder for the picture and the entry."
)
@click.option(
    "--site-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File of equations that gets the entry [default: calibrate.site_equations of the settings].",
)
@_config
@click.option("--id", "entry_id", help="Name of the entry [default: of scanner, tube voltage, kernel class and date].")
@click.option(
    "--months", type=click.IntRange(1, 24), default=12, show_default=True, help="How long the entry is valid after the scan."
)
@click.option(
    "--insert",
    type=(float, float),
    metavar="HU MG_CM3",
    help="Reading and density of an independent insert: the entry is refused if it is off by more than 7 %.",
)
def calibrate(
    paths: tuple[Path, ...],
    phantom_name: str | None,
    rods: Path | None,
    out: Path,
    site_file: Path | None,
    config: Path | None,
    entry_id: str | None,
    months: int,
    insert: tuple[float, float] | None,
) -> None:
    """Fit the HU-to-BMD equation of a scanner to scans of a calibration phantom, and enter it as pending.

    PATH: a file or folder of DICOM with one study. Every axial series is a repeat; repeats of one scanner, tube voltage and
    kernel class are averaged, five or more are advised.

    Phantoms: QRM-BDC-3, QRM-BDC-6, Siemens-Osteo, Image-Analysis, B-MAS-200, Mindways-3; describe any other with --rods
    (docs/calibration.md). The certificate of your own phantom rules.

    A scan in which the rods are not found, or do not lie on a line, is refused with the reason, and nothing is entered.
    `bmd-node calibrations approve ID --by NAME` makes the entry usable.
    Exit status: 0 entered; 2 refused, wrong usage or unreadable input.
    """
    from node.calibrate import EntryOptions, Insert
    from node.calibrate_scanner import PICTURE_NAME, calibrate_scanner
    from node.calibration_phantoms import known_phantom, read_phantom

    if (phantom_name is None) == (rods is None):
        raise click.UsageError("name the phantom with --phantom, or describe it with --rods, one of both")
    phantom_scanned = known_phantom(phantom_name) if phantom_name is not None else read_phantom(Path(rods or ""))
    site = site_file or load_settings(config).calibrate.site_equations
    if site is None:
        raise click.UsageError("no file gets the entry: set calibrate.site_equations in the settings, or give --site-file")
    options = EntryOptions(entry_id, months, None if insert is None else Insert(*insert))
    run = calibrate_scanner(paths, phantom_scanned, options, out, site, lambda text: click.echo(text, err=True))
    click.echo("\n".join(run.table))
    click.echo(f"pending in {site}, picture in {out / PICTURE_NAME}")
    click.echo(f"to use it: bmd-node calibrations approve {run.equation.id} --by NAME")
