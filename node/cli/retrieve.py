"""``bmd-node retrieve``: fetch images from a DICOMweb server."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from node.cli.options import EXIT_CHECK_FAILED, config_option, log_to_stderr, study_uids
from node.common.errors import NodeError
from node.settings.tree import load_settings


@click.command()
@config_option
@click.argument("study_instance_uids", metavar="STUDY_INSTANCE_UID...", nargs=-1, required=True, callback=study_uids)
def retrieve(config: Path | None, study_instance_uids: tuple[str, ...]) -> None:
    """Retrieve the CT series of studies from a DICOMweb server (WADO-RS); the worker measures them.

    The server is set in section [dicomweb]. Studies that the node already has are not measured twice.
    Exit status: 0 all retrieved; 1 some could not be retrieved, with the reasons; 2 wrong usage or settings.
    """
    from node.receive import dicomweb_source

    settings = load_settings(config)
    log_to_stderr(settings.log_level)
    source = dicomweb_source(settings)
    failed = False
    for uid in study_instance_uids:
        try:
            series = source.server.ct_series(uid)
            n_images = 0
            for series_instance_uid, n_expected in series.items():
                click.echo(f"{uid}: series {series_instance_uid}, {n_expected} images", err=True)
                n_images += source.take_series(uid, series_instance_uid, n_expected)
        except NodeError as error:
            failed = True
            click.echo(f"{uid}: {error}{', try again later' if error.retriable else ''}", err=True)
            continue
        click.echo(f"{uid}: {len(series)} CT series with {n_images} images retrieved")
    if failed:
        sys.exit(EXIT_CHECK_FAILED)
