"""The status page: what happened to every study, and why. Reads the records that the workflow writes; changes nothing."""

from node.web.server import serve_web

__all__ = ["serve_web"]
