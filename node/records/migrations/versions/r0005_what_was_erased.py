"""What was erased, so that work which is still running brings nothing back

Revision: 0005
Before: 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "erased",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("study_digest", sa.String(length=64), nullable=False),
        sa.Column("erased_s", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("digest"),
    )
    for column in ("study_digest", "erased_s"):
        op.create_index(f"ix_erased_{column}", "erased", [column])
