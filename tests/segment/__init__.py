"""Tests of the segment room."""
