"""Capture of a chain's calls from LangChain callbacks.

Modules:
    handler: `CaptureHandler`, which records the calls of a chain by their run ids, with tokens.
    spans: `Recording`, the events of a running call; `CapturedRun` and `Span`, the ended call.
    autolog: the trace that MLflow's own tracer writes for the same call.
    live_trace: the MLflow trace of a model that records spans of its own.
"""
