"""The watch: looks at the node from outside its other parts, and mails the administrators when something is wrong."""

from node.watch.watch import Watch, serve_watch

__all__ = ["Watch", "serve_watch"]
