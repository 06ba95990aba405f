"""The demo: a CT goes to the node as from a scanner, and what comes back is shown in the PACS."""

from node.demo.run import run_demo

__all__ = ["run_demo"]
