"""Long attacks on a node of their own: what is lost, doubled or kept waiting."""
