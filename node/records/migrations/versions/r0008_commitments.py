"""The tables of storage commitment of what the node has sent

Revision: 0008
Before: 0007
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "commitment_requests",
        sa.Column("transaction_uid", sa.String(length=64), nullable=False),
        sa.Column("destination", sa.String(length=64), nullable=False),
        sa.Column("run_id", sa.String(length=200), nullable=False),
        sa.Column("asked_s", sa.Double(), nullable=False),
        sa.Column("has_news", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("transaction_uid"),
    )
    op.create_index("ix_commitment_requests_has_news", "commitment_requests", ["has_news"])
    op.create_table(
        "commitments",
        sa.Column("destination", sa.String(length=64), nullable=False),
        sa.Column("sop_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("sop_class_uid", sa.String(length=64), nullable=False),
        sa.Column("run_id", sa.String(length=200), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("transaction_uid", sa.String(length=64), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("updated_s", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("destination", "sop_instance_uid"),
    )
    op.create_index("ix_commitments_run_id", "commitments", ["run_id"])
    op.create_index("ix_commitments_state", "commitments", ["state"])
