"""Translatable sentences with their values, and their translations."""
