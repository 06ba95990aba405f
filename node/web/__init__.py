"""The status page: the state of every study, and why. Reads the records of the workflow and changes nothing."""

from node.web.server import serve_web

__all__ = ["serve_web"]
