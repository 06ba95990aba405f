"""What Alembic runs: for :func:`node.records.migrations.upgrade.upgrade`, or to write a new revision (``make revision``)."""

from __future__ import annotations

import importlib
import pkgutil

import sqlalchemy as sa
from alembic import context

import node.records
from node.records.database import metadata
from node.records.migrations.upgrade import VERSION_TABLE


def every_table() -> sa.MetaData:
    """The tables of every module that has some; they know each other only when all are imported."""
    for module in pkgutil.iter_modules(node.records.__path__, "node.records."):
        importlib.import_module(module.name)
    # the receive room keeps its tables beside the code that fills them
    importlib.import_module("node.records.received")
    return metadata


def migrate(connection: sa.Connection) -> None:
    """Run what Alembic was called for on a connection whose transaction is its caller's."""
    context.configure(
        connection=connection,
        target_metadata=every_table(),
        version_table=VERSION_TABLE,
        transactional_ddl=True,
        render_as_batch=True,
        compare_type=True,
    )
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    migrate(given)
else:
    url = context.config.get_main_option("sqlalchemy.url")
    with sa.create_engine(url or "sqlite://").begin() as connection:
        migrate(connection)
