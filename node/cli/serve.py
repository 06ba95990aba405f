"""``bmd-node serve`` and the parts of the node that it runs, each a command of its own."""

from __future__ import annotations

from pathlib import Path

import click

from node.cli.options import config_option, log_to_stderr, stop_on_signal
from node.settings.tree import load_settings


@click.command()
@config_option
def serve(config: Path | None) -> None:
    """Run the node until it is stopped: listener, worker, status page, and where the settings ask for them the intake of
    plans and the link with Orthanc, each in its own process."""
    from node.supervisor import parts_of, refuse_without_segmenter, supervise

    settings = load_settings(config)
    log_to_stderr(settings.log_level)
    refuse_without_segmenter(settings.segment)
    supervise(parts_of(settings), config, stop_on_signal())


@click.command()
@config_option
def listener(config: Path | None) -> None:
    """Run the DICOM listener alone (C-ECHO, C-STORE)."""
    from node.receive import serve_listener

    settings = load_settings(config)
    log_to_stderr(settings.log_level)
    serve_listener(settings, stop_on_signal(), lambda: None)


@click.command()
@config_option
def worker(config: Path | None) -> None:
    """Run a worker alone: takes studies that are complete through the rooms and delivers the results."""
    from node.worker.loop import run_worker

    settings = load_settings(config)
    log_to_stderr(settings.log_level)
    run_worker(settings, stop_on_signal())


@click.command()
@config_option
def web(config: Path | None) -> None:
    """Run the status page alone."""
    from node.web import serve_web

    settings = load_settings(config)
    log_to_stderr(settings.log_level)
    serve_web(settings, stop_on_signal())


@click.command()
@config_option
def intake(config: Path | None) -> None:
    """Run the intake of planned operations alone (HL7, FHIR, theatre list), as the settings switch them on."""
    from node.plans import serve_intake

    settings = load_settings(config)
    log_to_stderr(settings.log_level)
    serve_intake(settings, stop_on_signal(), lambda: None)


@click.command()
@config_option
def puller(config: Path | None) -> None:
    """Run the link with Orthanc's plugin alone: read what it owes (orthanc.pull), tell it what became of the studies."""
    from node.receive import pull_until

    settings = load_settings(config)
    log_to_stderr(settings.log_level)
    pull_until(stop_on_signal(), settings)
