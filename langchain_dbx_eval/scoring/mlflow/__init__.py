"""Conversion between this package and MLflow.

Modules:
    scorers: scorers of ``mlflow.genai`` as ours, and ours as theirs.
    traces: outcomes from traces, and traces from rows.
"""
