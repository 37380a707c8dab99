"""Benchmark of the clients, compared with plain HTTP calls and with other packages.

Modules:
    __main__: the command ``python -m benchmarks.clients``.
    tasks: the clients, the tasks, the number of rounds, and the thresholds.
    server: the loopback server that all clients call, a separate process.
    worker: one client in its own environment and process.
    report: the results as a table and as JSON.
"""
