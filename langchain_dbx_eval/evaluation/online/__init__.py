"""The callback in production: sampling, backlog, matching calls to records."""
