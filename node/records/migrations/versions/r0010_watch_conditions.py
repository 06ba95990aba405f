"""The table of what administrators are told of

Revision: 0010
Before: 0009
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "watch_conditions",
        sa.Column("condition_id", sa.String(length=200), nullable=False),
        sa.Column("scope", sa.String(length=100), nullable=False),
        sa.Column("said", sa.Text(), nullable=False),
        sa.Column("since_s", sa.Double(), nullable=False),
        sa.Column("patience_s", sa.Double(), nullable=False),
        sa.Column("told_s", sa.Double()),
        sa.Column("over_s", sa.Double()),
        sa.Column("claimed_s", sa.Double()),
        sa.PrimaryKeyConstraint("condition_id"),
    )
