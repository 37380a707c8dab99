"""Serving endpoints of the local workspace."""
