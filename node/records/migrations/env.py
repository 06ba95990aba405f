"""Alembic runs this file for :func:`node.records.migrations.upgrade.upgrade` and to write a revision (``make revision``)."""

from __future__ import annotations

import importlib
import pkgutil

import sqlalchemy as sa
from alembic import context

import node.records
from node.records.database import metadata
from node.records.migrations.upgrade import VERSION_TABLE


def every_table() -> sa.MetaData:
    """Import every module with tables, and return all tables."""
    for module in pkgutil.iter_modules(node.records.__path__, "node.records."):
        importlib.import_module(module.name)
    # the tables of received instances
    importlib.import_module("node.records.received")
    return metadata


def migrate(connection: sa.Connection) -> None:
    """Run the Alembic command on a connection. The caller owns the transaction."""
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
