"""How the tables of the node change from version to version (Alembic).

``versions/`` holds a revision for each change. A revision is additive: it gives new columns a server default and removes
nothing that the version before still writes, since processes of that version may run for a moment beside this one. What is
no longer used is removed one version later.
"""
