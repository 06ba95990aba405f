"""Planned operations: what tells of them, how they are kept, and whose they are."""
