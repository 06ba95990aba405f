"""``bmd-node calibrate``: the equation of a scanner, from phantom scans."""

from __future__ import annotations

from pathlib import Path

import click

from node.cli.options import config_option
from node.settings.tree import load_settings


@click.command()
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--phantom", "phantom_name", help="Calibration phantom: one of the names above.")
@click.option(
    "--rods", type=click.Path(path_type=Path, dir_okay=False), help="Instead: file that describes your own phantom."
)
@click.option(
    "--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder for the picture and the entry."
)
@click.option(
    "--site-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File of equations to add the entry to [default: calibrate.site_equations in the settings].",
)
@config_option
@click.option("--id", "entry_id", help="Id of the entry [default: from scanner, tube voltage, kernel class and date].")
@click.option(
    "--months", type=click.IntRange(1, 24), default=12, show_default=True, help="Validity after the scan, in months."
)
@click.option(
    "--insert",
    type=(float, float),
    metavar="HU MG_CM3",
    help="Reading and density of an independent insert. An error above 7 % refuses the entry.",
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
    """Fit the HU-to-BMD equation of a scanner to scans of a calibration phantom, and add it as a pending entry.

    PATH is a DICOM file or folder with one study. Every axial series is a repeat. Repeats of one scanner, tube voltage and
    kernel class are averaged; five or more are recommended.

    Phantoms: QRM-BDC-3, QRM-BDC-6, Siemens-Osteo, Image-Analysis, B-MAS-200, Mindways-3; describe any other with --rods
    (docs/calibration.md). The certificate of your phantom takes precedence over the nominal values.

    If the rods of a scan are not found or not on a line, the scan is refused with the reason and nothing is added.
    `bmd-node calibrations approve ID --by NAME` approves the entry.
    Exit status: 0 added; 2 refused, wrong usage or unreadable input.
    """
    from node.calibrate import EntryOptions, Insert
    from node.model.calibration_phantoms import known_phantom, read_phantom
    from node.scanners.calibration import PICTURE_NAME, calibrate_scanner

    if (phantom_name is None) == (rods is None):
        raise click.UsageError("give either --phantom or --rods")
    phantom_scanned = known_phantom(phantom_name) if phantom_name is not None else read_phantom(Path(rods or ""))
    site = site_file or load_settings(config).calibrate.site_equations
    if site is None:
        raise click.UsageError("no file for the entry: set calibrate.site_equations in the settings, or give --site-file")
    options = EntryOptions(entry_id, months, None if insert is None else Insert(*insert))
    run = calibrate_scanner(paths, phantom_scanned, options, out, site, lambda text: click.echo(text, err=True))
    click.echo("\n".join(run.table))
    click.echo(f"pending in {site}, picture in {out / PICTURE_NAME}")
    click.echo(f"approve it with: bmd-node calibrations approve {run.equation.id} --by NAME")
