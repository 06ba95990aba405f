"""The table of work: studies, deliveries and alerts with their attempts

Before, only DBOS knew about unfinished work. Work that version 0.1.0 left unfinished becomes due.

Revision: 0003
Before: 0002
"""

from __future__ import annotations

import time

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_work = sa.table(
    "work",
    *(sa.column(name, sa.Text) for name in ("work_id", "kind", "subject", "target", "state", "detail")),
    *(sa.column(name, sa.Double) for name in ("due_s", "added_s", "updated_s")),
    *(sa.column(name, sa.Integer) for name in ("rounds", "begun", "failures", "refusals")),
)


def upgrade() -> None:
    """Create the table, and add unfinished work."""
    op.create_table(
        "work",
        sa.Column("work_id", sa.String(length=400), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("subject", sa.String(length=200), nullable=False),
        sa.Column("target", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("due_s", sa.Double(), nullable=False),
        sa.Column("rounds", sa.Integer(), nullable=False),
        sa.Column("begun", sa.Integer(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("refusals", sa.Integer(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("added_s", sa.Double(), nullable=False),
        sa.Column("updated_s", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("work_id"),
    )
    for column in ("subject", "state", "due_s"):
        op.create_index(f"ix_work_{column}", "work", [column])
    runs = sa.table("runs", *(sa.column(name, sa.Text) for name in ("run_id", "state")))
    recalculations = sa.table("recalculations", sa.column("run_id", sa.Text))
    deliveries = sa.table("deliveries", *(sa.column(name, sa.Text) for name in ("run_id", "destination", "state")))
    messages = sa.table("alert_messages", *(sa.column(name, sa.Text) for name in ("message_id", "channel", "state")))
    recalculated = sa.select(recalculations.c.run_id)
    unfinished = runs.c.state.in_(("queued", "running"))
    nothing = sa.literal("")
    _enter("study", runs.c.run_id, nothing, unfinished & runs.c.run_id.not_in(recalculated))
    _enter("recalculated", runs.c.run_id, nothing, unfinished & runs.c.run_id.in_(recalculated))
    _enter("deliver", deliveries.c.run_id, deliveries.c.destination, deliveries.c.state == "pending")
    _enter("alert", messages.c.message_id, messages.c.channel, messages.c.state == "pending")


def _enter(
    kind: str, subject: sa.ColumnElement[str], target: sa.ColumnElement[str], is_unfinished: sa.ColumnElement[bool]
) -> None:
    """Add work for the rows of a table that match a condition."""
    now_s = time.time()
    work_id = sa.literal(f"{kind}>") + subject
    if kind in ("deliver", "alert"):
        work_id = work_id + ">" + target
    columns = ("work_id", "kind", "subject", "target", "state", "detail", "due_s", "added_s", "updated_s")
    zeros = ("rounds", "begun", "failures", "refusals")
    found = sa.select(
        work_id,
        sa.literal(kind),
        subject,
        target,
        sa.literal("waiting"),
        sa.literal(""),
        *(sa.literal(now_s, sa.Double) for _ in range(3)),
        *(sa.literal(0, sa.Integer) for _ in zeros),
    ).where(is_unfinished)
    op.execute(sa.insert(_work).from_select([*columns, *zeros], found))
