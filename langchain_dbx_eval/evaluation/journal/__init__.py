"""The journal: the durable state of one evaluation, in SQLite."""
