"""Invoke a model for every record and score the answers."""
