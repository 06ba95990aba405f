"""``bmd-node process``: measure the studies in a folder or file."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from node.cli.options import EXIT_NOT_MEASURED, config_option, log_to_stderr
from node.settings.tree import load_settings


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder for the results.")
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print result.json on stdout instead of the table.")
@click.option("--kvp", type=float, help="NIfTI only: tube voltage.")
@click.option("--manufacturer", help="NIfTI only: manufacturer of the scanner.")
@click.option("--model", help="NIfTI only: manufacturer's model name.")
@click.option(
    "--labels-out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Also write the label map of the bodies (NIfTI; T12 = 19, L1 to L6 = 20 to 25) on the grid of the measured series.",
)
def process(
    path: Path,
    out: Path,
    config: Path | None,
    as_json: bool,
    kvp: float | None,
    manufacturer: str | None,
    model: str | None,
    labels_out: Path | None,
) -> None:
    """Measure every study below PATH: a DICOM folder or file (any mix of series), or one NIfTI file.

    Writes result.json, seg.dcm, sr.dcm, summary.dcm and summary.png to the folder given by --out. If PATH holds several
    studies with CT images, each gets a folder of its own there, named by its Study Instance UID, beside studies.csv and
    levels.csv; --json then prints an array with one object per study.
    Exit status: 0 measured (any of several); 3 not measured, with the reasons; 2 wrong usage or unreadable input.
    """
    from node.study.process import NiftiHeader, process_path

    settings = load_settings(config)
    log_to_stderr(settings.log_level)
    outcome = process_path(
        path,
        out,
        settings,
        NiftiHeader(kvp, manufacturer, model),
        labels_out,
        lambda text: click.echo(text, err=True),
    )
    click.echo(outcome.json_text if as_json else outcome.table)
    if outcome.status != "measured":
        sys.exit(EXIT_NOT_MEASURED)
