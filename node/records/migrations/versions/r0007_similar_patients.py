"""Sex, age and L1 of the patients that later ones are compared with

Results of earlier versions have neither sex nor age in this table; they do not count.

Revision: 0007
Before: 0006
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add the columns."""
    op.add_column("prior_results", sa.Column("patient_sex", sa.String(length=1), nullable=True))
    op.add_column("prior_results", sa.Column("patient_age_years", sa.Double(), nullable=True))
    op.add_column("prior_results", sa.Column("kvp", sa.Double(), nullable=True))
    op.add_column("prior_results", sa.Column("contrast_phase", sa.String(length=16), nullable=True))
    op.add_column("prior_results", sa.Column("l1_hu", sa.Double(), nullable=True))
    op.create_index("ix_prior_results_similar", "prior_results", ["patient_sex", "patient_age_years"])
