"""``bmd-node stability``: check scanners for drift."""

from __future__ import annotations

import sys
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from node.cli.options import DAY, EXIT_CHECK_FAILED, config_option, existing_records
from node.common.errors import ConfigurationError

if TYPE_CHECKING:
    from node.scanners.stability import ScannerTrends


@click.command()
@config_option
@click.option("--since", type=DAY, help="Only scans acquired on this day or later; the first ones are the baseline.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Folder for a plot (PNG) per scanner.")
def stability(config: Path | None, since: datetime | None, out: Path | None) -> None:
    """Check the scanners for drift, using the reference readings of every scan.

    One table per scanner and tube voltage: number of scans, first and last date, median, slope per year, and the latest
    scans compared with the first ones. The limits are in section [stability] of the settings.
    Exit status: 0 no scanner drifts; 1 at least one does; 2 wrong usage.
    """
    from node.records.scans import ScanRecords
    from node.scanners.stability import scanner_trends, stability_table

    settings = existing_records(config)
    scans = ScanRecords.open(settings).scans(_day(since))
    found = scanner_trends(scans, settings.stability)
    for scanner in found:
        click.echo(stability_table(scanner))
    if out is not None and found:
        _plots(found, out)
    undated = sum(scan.acquisition_date is None for scan in scans)
    if undated:
        click.echo(f"{undated} scans without a date are excluded")
    if not found:
        click.echo("no scan has readings and a date yet")
    if any(scanner.drifts for scanner in found):
        sys.exit(EXIT_CHECK_FAILED)


def _plots(found: tuple[ScannerTrends, ...], out: Path) -> None:
    from node.scanners.stability_plot import write_plot

    try:
        out.mkdir(parents=True, exist_ok=True)
        for number, scanner in enumerate(found, start=1):
            click.echo(f"plot: {write_plot(scanner, number, out)}")
    except OSError as error:
        raise ConfigurationError(f"--out {out} cannot be written: {error.strerror}") from error


def _day(day: datetime | None) -> date | None:
    return None if day is None else day.date()
