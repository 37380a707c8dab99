"""MLflow traces as rows for `EvalRecord.from_row`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from langchain_dbx_eval._internal.imports import require
from langchain_dbx_eval.datasets.record import doc_uri_of, from_cell, parse_cell
from langchain_dbx_eval.errors import SchemaError

__all__ = ["complete_from_trace", "is_trace"]

# The columns of `mlflow.search_traces` that describe the trace and not the record (MLflow 3.17).
_FRAME_COLUMNS = frozenset(
    {"client_request_id", "state", "request_time", "execution_duration", "trace_metadata", "tags"}
    | {"spans", "assessments"}
)
_SESSION = "mlflow.trace.session"
_EXPECTATIONS = ("expectations", "custom_expected")
# The columns of a row that replace a value of its trace.
_COLUMNS_BY_VALUE = {"inputs": ("inputs", "request"), "outputs": ("outputs", "response")}


def is_trace(value: Any) -> bool:
    """Return whether a value is an `mlflow.entities.Trace`, without importing MLflow."""
    return type(value).__name__ == "Trace" and type(value).__module__.startswith("mlflow.")


def complete_from_trace(row: Mapping[str, Any], index: int) -> Mapping[str, Any]:
    """Add the values that a row lacks from the trace in its column ``trace``.

    As in databricks-agents, expectations are merged by name and those of the row win.

    Args:
        row: Values by column; the columns of `mlflow.search_traces` are reduced to those of a
            record.
        index: The row's index, from 0, for error messages.

    Returns:
        The row with the inputs and outputs of the root span, the documents of retriever spans, the
        expectations that were logged on the trace, its id and session. A row without a trace is
        returned unchanged, and one whose trace cannot be parsed too, if it has inputs of its own.

    Raises:
        SchemaError: The row has no inputs, and its trace is invalid or has no root span.
    """
    if not isinstance(row.get("trace"), str | Mapping) and not is_trace(row.get("trace")):
        return row
    hidden = _FRAME_COLUMNS if row.keys() >= _FRAME_COLUMNS else frozenset()
    cells = {k: from_cell(v) for k, v in row.items() if k not in hidden and k != "trace"}
    own = {name: value for name, value in cells.items() if value is not None}
    has_inputs = not own.keys().isdisjoint(_COLUMNS_BY_VALUE["inputs"])
    trace = _parse(row["trace"], index, is_required=not has_inputs)
    if trace is None:
        return row
    values = _values_of(trace)
    for name, columns in _COLUMNS_BY_VALUE.items():
        if not own.keys().isdisjoint(columns):
            del values[name]
    if not has_inputs and values["inputs"] is None:
        msg = (
            f"Row {index}, column 'trace': trace {trace.info.trace_id} has no inputs. Load it with "
            "its spans: mlflow.search_traces(include_spans=True)."
        )
        raise SchemaError(msg)
    logged = {k: v for k, v in values.pop("expectations").items() if k not in own}
    column = next((name for name in _EXPECTATIONS if name in own), "expectations")
    given = parse_cell(own.get(column, {}))
    # `EvalRecord.from_row` rejects expectations that are not a dict.
    if isinstance(given, dict):
        own[column] = {**logged, **given}
    return {**values, **own}


def _parse(trace: Any, index: int, *, is_required: bool) -> Any:
    """Return the `mlflow.entities.Trace`; None if it is invalid and not required."""
    if is_trace(trace):
        return trace
    entities = require("mlflow.entities", extra="eval")
    try:
        return (
            entities.Trace.from_json(trace)
            if isinstance(trace, str)
            else entities.Trace.from_dict(trace)
        )
    except Exception as error:
        # MLflow raises what the JSON's form leads to: KeyError, TypeError, MlflowException, …
        if not is_required:
            return None
        msg = f"Row {index}, column 'trace': expected an MLflow trace or its JSON ({error!r})."
        raise SchemaError(msg) from error


def _values_of(trace: Any) -> dict[str, Any]:
    spans = trace.data.spans
    root = next((span for span in spans if span.parent_id is None), None)
    assessments = trace.search_assessments(type="expectation")
    return {
        "request_id": trace.info.client_request_id or trace.info.trace_id,
        "inputs": None if root is None else root.inputs,
        "outputs": None if root is None else root.outputs,
        "retrieved_context": list(_documents_of(spans)) or None,
        "expectations": {assessment.name: assessment.value for assessment in assessments},
        "trace_id": trace.info.trace_id,
        "session_id": trace.info.trace_metadata.get(_SESSION),
        "trace": trace.to_dict(),
    }


def _documents_of(spans: Iterable[Any]) -> Iterator[dict[str, Any]]:
    """Iterate over the documents of retriever spans, in the form of LangChain's autologging."""
    for span in spans:
        if span.span_type != "RETRIEVER" or not isinstance(span.outputs, list):
            continue
        for document in span.outputs:
            if isinstance(document, Mapping):
                uri = doc_uri_of(document.get("metadata") or {})
                content = document.get("page_content", document.get("content"))
                values = {"doc_uri": uri, "content": content}
                yield {name: value for name, value in values.items() if value is not None}
