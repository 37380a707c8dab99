"""Capture of a chain's calls from LangChain callbacks.

Modules:
    handler: `CaptureHandler`, which records the calls of a chain by their run ids.
    spans: `Recording`, the events of a running call; `CapturedRun` and `Span`, the ended call.
    token_usage: the token counts in a model's result.
    autolog: the trace that MLflow's own tracer writes for the same call.
"""
