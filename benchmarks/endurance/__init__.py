"""Long attacks on a running node, each a command; their figures are in ``docs/reliability.md``."""
