"""The trace that MLflow's own LangChain tracer writes for a captured call.

`mlflow.langchain.autolog` adds a tracer to each call, and neither LangChain nor MLflow gives one
handler access to another. MLflow's current span does not help: in `batch`, between threads and
between tasks it belongs to another call. So the tracer is looked up in the list of handlers that
LangChain is calling at this moment, and its span by the run id (langchain-core 1.7, MLflow 3.17).
If either changes this, no trace is found, and the evaluation writes its own.
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
"""Returns the trace id and the span id of the span that a tracer has open for a run."""

_TRACER_MODULE = "mlflow.langchain.langchain_tracer"
_DISPATCHERS = ("handle_event", "ahandle_event")
_MAX_FRAMES = 8


def find_tracer(handler: Any) -> SpanFinder | None:
    """Find MLflow's tracer among the handlers that receive the current event.

    Call it inside a callback method of `handler`.

    Args:
        handler: The handler that captures the call.

    Returns:
        A function that finds the span of a run; None if there is no such tracer.
    """
    tracing = sys.modules.get(_TRACER_MODULE)
    if tracing is None:
        return None
    for other in _current_handlers(handler, sys._getframe(1)):
        if isinstance(other, tracing.MlflowLangchainTracer):
            return partial(_open_span, other, tracing.NO_OP_SPAN_TRACE_ID)
    return None


def _open_span(tracer: Any, no_op_trace_id: str, run_id: UUID) -> tuple[str, str] | None:
    entry = tracer._run_span_mapping.get(str(run_id))
    if entry is None or entry.span.trace_id == no_op_trace_id:
        return None
    return entry.span.trace_id, entry.span.span_id


def _current_handlers(handler: Any, frame: FrameType | None) -> list[Any]:
    for _ in range(_MAX_FRAMES):
        if frame is None:
            break
        if frame.f_code.co_name in _DISPATCHERS:
            handlers = frame.f_locals.get("handlers")
            return handlers if isinstance(handlers, list) and handler in handlers else []
        frame = frame.f_back
    return []
