"""Measurements of the node by one command each; never imported by it."""
