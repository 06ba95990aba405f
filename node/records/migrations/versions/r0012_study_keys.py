"""Keyed accession numbers and Patient IDs, by which studies are found

Studies of before are added when somebody looks for one.

Revision: 0012
Before: 0011
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "study_keys",
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("number_key", sa.String(length=64), nullable=False),
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("kind", "number_key", "study_instance_uid"),
    )
    op.create_index("ix_study_keys_study_instance_uid", "study_keys", ["study_instance_uid"])
