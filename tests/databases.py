"""Databases of tests."""

from __future__ import annotations

import sqlalchemy as sa


def empty(engine: sa.Engine) -> None:
    """Drop every table, also the one that says which revision the others have: the next to open it makes them."""
    there = sa.MetaData()
    there.reflect(engine)
    there.drop_all(engine)
