"""Conversion between this package and MLflow.

Modules:
    scorers: conversion of scorers of ``mlflow.genai`` to this package's, and back.
    metrics: the ``extra_metrics`` of Agent Evaluation.
    traces: outcomes from traces, and traces from rows.
"""
