"""Helpers that several packages share: event loop, limiter, paths, JSON text, extras, runtime."""
