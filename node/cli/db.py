"""``bmd-node db``: show or upgrade the revision of the database."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from node.cli.options import EXIT_CHECK_FAILED, config_option, existing_records, log_to_stderr
from node.settings.tree import load_settings


@click.group()
def db() -> None:
    """Show or upgrade the revision of the database.

    The node upgrades its database automatically at start; make a backup before you install another version
    (docs/administration.md). These commands are for administrators who want to upgrade before the start.
    """


@db.command()
@config_option
def current(config: Path | None) -> None:
    """List the revisions of this version and whether they are applied; changes nothing.

    Exit status: 0 all are applied; 1 some are missing; 2 wrong usage, or a later version has upgraded the database.
    """
    from node.records.database import answering
    from node.records.engine import connect
    from node.records.migrations.upgrade import revisions

    engine = connect(existing_records(config))
    with answering(engine):
        found = revisions(engine)
    for revision in found:
        click.echo(f"{revision.id}  {'applied' if revision.applied else 'missing'}  {revision.what}")
    if not all(revision.applied for revision in found):
        click.echo("to upgrade: bmd-node db upgrade, or start the node")
        sys.exit(EXIT_CHECK_FAILED)


@db.command()
@config_option
def upgrade(config: Path | None) -> None:
    """Upgrade the database to this version of the node. Does nothing if it is up to date."""
    from node.records.database import answering
    from node.records.engine import connect
    from node.records.migrations.upgrade import upgrade as apply_revisions

    settings = load_settings(config)
    log_to_stderr(settings.log_level)
    engine = connect(settings)
    with answering(engine):
        applied = apply_revisions(engine)
    for revision in applied:
        click.echo(f"{revision.id}  applied  {revision.what}")
    if not applied:
        click.echo("the database is up to date")
