"""Benchmarks of the node, one command each. The node never imports them."""
