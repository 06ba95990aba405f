"""The command line ``bmd-node``: one thin module per command; the work is done in the other packages.

Commands import what they need when they run, so that ``--help`` and ``status`` do not load a neural network.
"""

from __future__ import annotations

import os

import click

from node import __version__
from node.cli.alerts import alerts
from node.cli.audit import audit
from node.cli.calibrate import calibrate
from node.cli.calibrations import calibrations
from node.cli.conflicts import conflicts
from node.cli.db import db
from node.cli.deliveries import deliveries
from node.cli.demo import demo
from node.cli.destinations import destinations
from node.cli.doctor import doctor, health
from node.cli.erase import erase
from node.cli.evaluate import evaluate
from node.cli.export import export
from node.cli.options import EXIT_USAGE
from node.cli.phantom import phantom
from node.cli.plans import plans
from node.cli.process import process
from node.cli.recalculate import recalculate
from node.cli.rerun import rerun
from node.cli.retention import retention
from node.cli.retrieve import retrieve
from node.cli.serve import intake, listener, puller, serve, web, worker
from node.cli.settings import settings
from node.cli.stability import stability
from node.cli.status import status
from node.cli.users import users
from node.cli.watch import watch
from node.common.errors import NodeError
from node.common.private import UMASK
from node.settings.renamed import say_remembered


class _Commands(click.Group):
    """Prints errors of the node as one line with exit status 2; tracebacks are for bugs."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except NodeError as error:
            click.echo(f"bmd-node: {error}", err=True)
            ctx.exit(EXIT_USAGE)
        finally:
            # for commands without a log
            say_remembered(lambda warning: click.echo(f"bmd-node: warning: {warning}", err=True))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="bmd-node")
def main() -> None:
    """Screen lumbar CT for osteoporosis: trabecular BMD of L1 to L4 as DICOM SEG, Structured Report and summary page.

    A screening estimate, not a diagnosis. In case of doubt the node reports less and says why.
    """
    os.umask(UMASK)


for _command in (
    alerts,
    audit,
    calibrate,
    calibrations,
    conflicts,
    db,
    deliveries,
    demo,
    destinations,
    doctor,
    erase,
    evaluate,
    export,
    health,
    intake,
    listener,
    phantom,
    plans,
    process,
    puller,
    recalculate,
    rerun,
    retention,
    retrieve,
    serve,
    settings,
    stability,
    status,
    users,
    watch,
    web,
    worker,
):
    main.add_command(_command)
