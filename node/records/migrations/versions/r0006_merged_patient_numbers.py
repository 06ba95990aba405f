"""Patient numbers that were merged into others (HL7 ADT^A40)

Revision: 0006
Before: 0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "patient_merges",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("prior_value", sa.String(length=400), nullable=False),
        sa.Column("prior_issuer", sa.Text(), nullable=False),
        sa.Column("prior_universal_id", sa.Text(), nullable=False),
        sa.Column("surviving_value", sa.String(length=400), nullable=False),
        sa.Column("surviving_issuer", sa.Text(), nullable=False),
        sa.Column("surviving_universal_id", sa.Text(), nullable=False),
        sa.Column("sent_s", sa.Double(), nullable=False),
        sa.Column("is_followed", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("digest"),
    )
    for column in ("prior_value", "surviving_value", "is_followed"):
        op.create_index(f"ix_patient_merges_{column}", "patient_merges", [column])
