"""Schema migrations of the database (Alembic).

``versions/`` holds one revision for each change. A revision is additive: it gives new columns a server default and removes
nothing that the previous version still writes, because processes of that version may briefly run beside this one. Unused
columns are removed one version later.
"""
