"""Planned operations: HL7, FHIR and theatre lists are read into one store."""

from node.plans.intake import BEAT_FILE, is_switched_on, serve_intake

__all__ = ["BEAT_FILE", "is_switched_on", "serve_intake"]
