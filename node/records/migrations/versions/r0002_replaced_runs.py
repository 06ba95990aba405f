"""A column for runs whose report was replaced, instead of a note in the detail

Revision: 0002
Before: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_REPLACED = "replaced by a later report"


def upgrade() -> None:
    """Add the column, and move the notes into it."""
    op.add_column("runs", sa.Column("is_replaced", sa.Boolean(), nullable=False, server_default=sa.false()))
    runs = sa.table("runs", sa.column("detail", sa.Text), sa.column("is_replaced", sa.Boolean))
    for end in (f"; {_REPLACED}", _REPLACED):
        said = runs.c.detail.endswith(end)
        shorter = sa.func.substr(runs.c.detail, 1, sa.func.length(runs.c.detail) - len(end))
        op.execute(sa.update(runs).where(said).values(detail=shorter, is_replaced=True))
