"""Plan: what tells of operations (HL7, FHIR, theatre lists, the imaging order) becomes planned operations in one store."""

from node.plans.intake import BEAT_FILE, is_switched_on, serve_intake

__all__ = ["BEAT_FILE", "is_switched_on", "serve_intake"]
