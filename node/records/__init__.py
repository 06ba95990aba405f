"""What the node remembers, in SQLite or PostgreSQL: one module per kind of record, each with a store of its own."""
