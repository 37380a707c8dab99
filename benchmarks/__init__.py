"""Benchmarks. On a shared machine only ratios are meaningful, so every benchmark alternates what it
compares.

Modules:
    clients: our clients compared with plain HTTP calls and with other packages (bench-clients).
    driver: the driver server under load, and the transformers engine on a GPU (bench-driver).
    evaluation: `evaluate` compared with other packages (bench-eval).
    data: a million records in the local catalog (bench-data).
    callback_overhead: the time that callbacks add to a chain.
    mlflow_writing: rows per second written to MLflow.
    judge_agreement: the agreement of a judge model with known verdicts.
    processes: worker processes that answer requests with JSON.
    environments: virtual environments for other packages.
"""
