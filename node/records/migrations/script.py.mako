"""${message}

Revision: ${up_revision}
Before: ${down_revision | comma,n}
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
${imports if imports else ""}
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}


def upgrade() -> None:
    """Upgrade the tables from the previous revision to this one."""
    ${upgrades if upgrades else "pass"}
