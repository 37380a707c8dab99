"""Conversion between this package and MLflow.

Modules:
    scorers: conversion of scorers of ``mlflow.genai`` to this package's, and back.
    traces: outcomes from traces, and traces from rows.
"""
