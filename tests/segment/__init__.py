"""Tests of node.segment."""
