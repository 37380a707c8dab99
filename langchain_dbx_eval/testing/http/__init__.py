"""The HTTP server of the local workspace."""
