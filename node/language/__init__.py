"""Sentences that keep what they are made of, and their translations."""
