"""``bmd-node serve``, and one command for each part of the node."""

from __future__ import annotations

from pathlib import Path

import click

from node.cli.options import config_option, log_to_stderr, stop_on_signal
from node.settings.tree import load_settings


@click.command()
@config_option
def serve(config: Path | None) -> None:
    """Run the node until it is stopped: listener, worker, status page, and if configured the intake of planned operations
    and the link with Orthanc, each in its own process."""
    from node.supervisor import parts_of, refuse_without_segmenter, supervise

    settings = load_settings(config)
    log_to_stderr(settings.log_level)
    refuse_without_segmenter(settings.segment)
    supervise(parts_of(settings), config, stop_on_signal())


@click.command()
@config_option
def listener(config: Path | None) -> None:
    """Run only the DICOM listener (C-ECHO, C-STORE)."""
    from node.receive import serve_listener

    settings = load_settings(config)
    log_to_stderr(settings.log_level)
    serve_listener(settings, stop_on_signal(), lambda: None)


@click.command()
@config_option
def worker(config: Path | None) -> None:
    """Run only a worker: measure complete studies and deliver the results."""
    from node.worker.compute import Computing

    settings = load_settings(config)
    log_to_stderr(settings.log_level)
    stop = stop_on_signal()
    computing = Computing(settings)
    # loads while the other process loads the segmenter
    from node.worker.loop import run_worker

    run_worker(settings, stop, computing)


@click.command()
@config_option
def web(config: Path | None) -> None:
    """Run only the status page."""
    from node.web import serve_web

    settings = load_settings(config)
    log_to_stderr(settings.log_level)
    serve_web(settings, stop_on_signal())


@click.command()
@config_option
def intake(config: Path | None) -> None:
    """Run only the intake of planned operations (HL7, FHIR, theatre list), as enabled in the settings."""
    from node.plans import serve_intake

    settings = load_settings(config)
    log_to_stderr(settings.log_level)
    serve_intake(settings, stop_on_signal(), lambda: None)


@click.command()
@config_option
def puller(config: Path | None) -> None:
    """Run only the link with Orthanc's plugin: read pending images (orthanc.pull) and report the state of studies."""
    from node.receive import pull_until

    settings = load_settings(config)
    log_to_stderr(settings.log_level)
    pull_until(stop_on_signal(), settings)
