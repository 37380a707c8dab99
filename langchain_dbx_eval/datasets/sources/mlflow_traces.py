"""Traces of an MLflow experiment, as records: what was asked, answered, found and noted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from langchain_dbx_eval._internal.extras import require
from langchain_dbx_eval.datasets.record import doc_uri_of
from langchain_dbx_eval.datasets.sources.memory import MemorySource
from langchain_dbx_eval.datasets.sources.mlflow_store import mlflow_errors
from langchain_dbx_eval.errors import NotFoundError

__all__ = ["open_traces"]


def open_traces(experiment: str | None, filter_string: str | None, limit: int) -> MemorySource:
    """Read traces, the newest first.

    Args:
        experiment: The experiment's name or id; None for the current one.
        filter_string: MLflow's search expression.
        limit: The most traces that are read.

    Raises:
        NotFoundError: There is no such experiment.
    """
    mlflow = require("mlflow", extra="eval")
    with mlflow_errors("Reading traces"):
        locations = None if experiment is None else [_experiment_id(experiment)]
        traces = mlflow.search_traces(
            locations=locations,
            filter_string=filter_string,
            max_results=limit,
            return_type="list",
            flush=True,
        )
    where = "the current experiment" if experiment is None else f"experiment {experiment!r}"
    return MemorySource(map(row_of_trace, traces), f"{len(traces)} traces of {where}")


def row_of_trace(trace: Any) -> dict[str, Any]:
    """A trace as a row: its root span's input and output, and what people expect of it."""
    spans = trace.data.spans
    root = next((span for span in spans if span.parent_id is None), None)
    expectations = {
        assessment.name: assessment.expectation.value
        for assessment in trace.info.assessments or ()
        if getattr(assessment, "expectation", None) is not None
    }
    row = {
        "request_id": trace.info.client_request_id or trace.info.trace_id,
        "inputs": None if root is None else root.inputs,
        "outputs": None if root is None else root.outputs,
        "retrieved_context": list(_found(spans)) or None,
        "expectations": expectations,
        "trace_id": trace.info.trace_id,
    }
    return {name: value for name, value in row.items() if value is not None}


def _found(spans: Any) -> Iterator[dict[str, Any]]:
    """What retriever spans returned: documents as MLflow's tracing writes LangChain's."""
    for span in spans:
        if span.span_type != "RETRIEVER" or not isinstance(span.outputs, list):
            continue
        for document in span.outputs:
            if isinstance(document, Mapping):
                uri = doc_uri_of(document.get("metadata") or {})
                chunk = {"doc_uri": uri, "content": document.get("page_content")}
                yield {name: value for name, value in chunk.items() if value is not None}


def _experiment_id(experiment: str) -> str:
    import mlflow

    found = mlflow.get_experiment_by_name(experiment)
    if found is None and experiment.isdigit():
        found = mlflow.get_experiment(experiment)
    if found is None:
        msg = f"MLflow has no experiment {experiment!r} at {mlflow.get_tracking_uri()}."
        raise NotFoundError(msg)
    return str(found.experiment_id)
