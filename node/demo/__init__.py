"""The demo: sends a CT to the node like a scanner, and shows the results in the PACS."""

from node.demo.run import run_demo

__all__ = ["run_demo"]
