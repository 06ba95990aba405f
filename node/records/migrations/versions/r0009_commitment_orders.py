"""The table of storage commitment that senders ask the node for

Revision: 0009
Before: 0008
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "commitment_orders",
        sa.Column("order_id", sa.String(length=32), nullable=False),
        sa.Column("calling_ae_title", sa.String(length=16), nullable=False),
        sa.Column("transaction_uid", sa.String(length=64), nullable=False),
        sa.Column("instances", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("asked_s", sa.Double(), nullable=False),
        sa.Column("due_s", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("order_id"),
    )
    op.create_index("ix_commitment_orders_calling_ae_title", "commitment_orders", ["calling_ae_title"])
    op.create_index("ix_commitment_orders_state", "commitment_orders", ["state"])
