"""MLflow's own LangChain tracer beside our handler: the trace that it makes of the same call.

`mlflow.langchain.autolog` gives each call a tracer of its own, and neither LangChain nor MLflow
tells one handler of another. What is current in MLflow's context is no answer: in `batch`, between
threads and tasks it is another call's. So the tracer is looked for in the list of handlers that
LangChain is telling of the event at this moment, and asked for the run's id (seen in langchain-core
1.7 and MLflow 3.17). Where either does otherwise, no trace is found, and we write one.
"""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any
from uuid import UUID

__all__ = ["open_span"]

_TRACER_MODULE = "mlflow.langchain.langchain_tracer"
_MOST_FRAMES = 8


def open_span(handler: Any, run_id: UUID) -> tuple[str, str] | None:
    """Find the span that MLflow's tracer has open for a run.

    To be called within an event that LangChain tells to `handler`.

    Args:
        handler: Our handler.
        run_id: LangChain's id of the run.

    Returns:
        The ids of the trace and of the span in it; None where nobody traces the run.
    """
    tracing = sys.modules.get(_TRACER_MODULE)
    if tracing is None:
        return None
    for neighbour in _handlers_beside(handler, sys._getframe(1)):
        if isinstance(neighbour, tracing.MlflowLangchainTracer):
            held = neighbour._run_span_mapping.get(str(run_id))
            if held is not None and held.span.trace_id != tracing.NO_OP_SPAN_TRACE_ID:
                return held.span.trace_id, held.span.span_id
    return None


def _handlers_beside(handler: Any, frame: FrameType | None) -> list[Any]:
    for _ in range(_MOST_FRAMES):
        if frame is None:
            break
        handlers = frame.f_locals.get("handlers")
        if isinstance(handlers, list) and any(one is handler for one in handlers):
            return handlers
        frame = frame.f_back
    return []
