"""What the node is measured by: commands that make a table, each with a checkpoint."""
