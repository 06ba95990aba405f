"""``bmd-node doctor`` for administrators, and ``bmd-node health`` for container engines."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from node.cli.options import EXIT_CHECK_FAILED, config_option
from node.settings.renamed import say_remembered
from node.settings.tree import load_settings

if TYPE_CHECKING:
    from node.doctor import Finding

_json_option = click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")


@click.command()
@config_option
@_json_option
def doctor(config: Path | None, as_json: bool) -> None:
    """Check whether the node can run with these settings: one line per check, with what to do.

    Checks segmenter, equations, disk, database, ports, running parts, workers, destinations (C-ECHO and supported SOP
    classes), senders, Orthanc and its plugin, DICOMweb, planned operations, alerts, clock, and known scanners. Changes
    nothing and sends only queries.
    Exit status: 0 no error (warnings are possible), 1 otherwise, also if the node has run and does not run now.
    """
    from node.doctor import examine

    findings = examine(config)
    # they are among the findings
    say_remembered(lambda _warning: None)
    _answer(findings, as_json)


@click.command()
@click.argument("parts", nargs=-1, type=click.Choice(["listener", "worker", "web", "intake", "puller"]))
@config_option
@_json_option
def health(parts: tuple[str, ...], config: Path | None, as_json: bool) -> None:
    """Check whether the parts of the node are alive: C-ECHO, heartbeat, /health.

    PARTS are those that run here [default: those of `bmd-node serve`].
    Exit status: 0 all are alive, 1 one of them is not, 2 wrong usage or settings.
    """
    from node.doctor.health import PARTS
    from node.doctor.health import health as look

    _answer(look(load_settings(config), tuple(part for part in PARTS if part in parts)), as_json)


def _answer(findings: Sequence[Finding], as_json: bool) -> None:
    from node.doctor import Outcome

    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=2, ensure_ascii=False))
    else:
        for finding in findings:
            click.echo(str(finding))
    if any(finding.outcome is Outcome.ERROR for finding in findings):
        sys.exit(EXIT_CHECK_FAILED)
