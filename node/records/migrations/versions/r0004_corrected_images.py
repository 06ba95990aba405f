"""What was decided of images that came again with other content, and results that are no longer a patient's

Revision: 0004
Before: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the columns."""
    op.add_column("received_conflicts", sa.Column("state", sa.String(length=16), nullable=False, server_default="new"))
    op.create_index("ix_received_conflicts_state", "received_conflicts", ["state"])
    op.add_column("prior_results", sa.Column("is_withdrawn", sa.Boolean(), nullable=False, server_default=sa.false()))
