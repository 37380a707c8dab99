"""MLflow's own LangChain tracer beside our handler: the trace that it makes of the same call.

`mlflow.langchain.autolog` gives each call a tracer of its own, and neither LangChain nor MLflow
tells one handler of another. What is current in MLflow's context is no answer: in `batch`, between
threads and tasks it is another call's. So the tracer is looked for in the list of handlers that
LangChain is telling of the event at this moment, and asked for the run's id (seen in langchain-core
1.7 and MLflow 3.17). Where either does otherwise, no trace is found, and we write one.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any, TypeAlias
from uuid import UUID

__all__ = ["SpanFinder", "find_tracer"]

SpanFinder: TypeAlias = Callable[[UUID], tuple[str, str] | None]
"""Finds the span that a tracer has open for a run: the ids of the trace and of the span in it."""

_TRACER_MODULE = "mlflow.langchain.langchain_tracer"
_DISPATCHERS = ("handle_event", "ahandle_event")
_MOST_FRAMES = 8


def find_tracer(handler: Any) -> SpanFinder | None:
    """Find MLflow's tracer beside a handler.

    To be called within an event that LangChain tells to that handler.

    Args:
        handler: Our handler.

    Returns:
        What finds a run's span; None where there is no such tracer.
    """
    tracing = sys.modules.get(_TRACER_MODULE)
    if tracing is None:
        return None
    for neighbour in _handlers_beside(handler, sys._getframe(1)):
        if isinstance(neighbour, tracing.MlflowLangchainTracer):
            return partial(_open_span, neighbour, tracing.NO_OP_SPAN_TRACE_ID)
    return None


def _open_span(tracer: Any, not_recorded: str, run_id: UUID) -> tuple[str, str] | None:
    held = tracer._run_span_mapping.get(str(run_id))
    if held is None or held.span.trace_id == not_recorded:
        return None
    return held.span.trace_id, held.span.span_id


def _handlers_beside(handler: Any, frame: FrameType | None) -> list[Any]:
    for _ in range(_MOST_FRAMES):
        if frame is None:
            break
        if frame.f_code.co_name in _DISPATCHERS:
            handlers = frame.f_locals.get("handlers")
            return handlers if isinstance(handlers, list) and handler in handlers else []
        frame = frame.f_back
    return []
