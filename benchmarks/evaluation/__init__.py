"""Benchmark of `evaluate`, compared with other packages.

Modules:
    __main__: the command ``python -m benchmarks.evaluation``.
    systems: the compared systems, one process each, and their measurements.
    worker: one system in its own process; it requires no package of this project.
"""
