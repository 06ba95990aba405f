"""The ways in which an alert leaves the node."""
