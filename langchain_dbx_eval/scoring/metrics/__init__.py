"""Deterministic scorers."""
