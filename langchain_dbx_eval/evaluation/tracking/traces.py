"""Writes rows as MLflow traces, and finds the traces that autologging has made of them.

All traces of a batch go to the store in one call of MLflow's tracing client, where its public span
API needs a call and several commits a span. That client is internal to MLflow, so a store or
version that refuses it (Databricks, an older server) gets trace by trace what MLflow's own exporter
sends it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tenacity import RetryCallState, Retrying, retry_if_result, stop_after_delay, wait_fixed

from langchain_dbx_eval.evaluation.tracking.assessments import in_threads
from langchain_dbx_eval.evaluation.tracking.spans import REQUEST_ID_TAG, WrittenRow, spans_of
from langchain_dbx_eval.evaluation.tracking.store_access import is_passing

if TYPE_CHECKING:
    from mlflow.entities import Span, TraceInfo
    from mlflow.tracing.client import TracingClient

__all__ = ["write_traces"]

_logger = logging.getLogger(__name__)

_PATIENCE_SECONDS = 10
_PREVIEW = 1000


def write_traces(
    client: TracingClient, rows: Sequence[WrittenRow], experiment_id: str
) -> list[str]:
    """See to it that each row has a trace, and just one.

    Rows that `mlflow.langchain.autolog` has traced keep its traces, which get the row's tag.

    Args:
        client: The store.
        rows: The rows.
        experiment_id: The MLflow experiment to write to.

    Returns:
        The traces' ids, in the order of the rows.
    """
    begun = {row.autolog_id for row in rows if row.autolog_id is not None}
    came = begun - _never_came(client, begun)

    def tag(row: WrittenRow) -> None:
        client.set_trace_tag(str(row.autolog_id), REQUEST_ID_TAG, row.request_id)

    in_threads(tag, [row for row in rows if row.autolog_id in came])
    _write(client, [row for row in rows if row.autolog_id not in came], experiment_id)
    return [row.autolog_id if row.autolog_id in came else row.trace_id for row in rows]


def _never_came(client: TracingClient, trace_ids: set[str]) -> set[str]:
    """Those traces of autologging that are not in the store, however long one waits for them."""
    import mlflow

    if not trace_ids:
        return set()
    mlflow.flush_trace_async_logging()
    # Flushing does not wait for a call's last span, which may end after our callback was told.
    waiting = Retrying(
        retry=retry_if_result(bool),
        stop=stop_after_delay(_PATIENCE_SECONDS),
        wait=wait_fixed(0.2),
        retry_error_callback=_last_result,
    )
    missing: set[str] = waiting(_not_stored, client, trace_ids)
    if missing:
        _logger.warning(
            "%d of %d traces that mlflow.langchain.autolog began have not come to the store (%s "
            "is one; MLflow's log says why). Their rows get traces of our own.",
            len(missing),
            len(trace_ids),
            min(missing),
        )
    return missing


def _last_result(state: RetryCallState) -> Any:
    return state.outcome.result() if state.outcome is not None else None


def _not_stored(client: TracingClient, trace_ids: set[str]) -> set[str]:
    from mlflow.exceptions import MlflowException

    def missing(trace_id: str) -> bool:
        try:
            # Not the client's own method, which also finds traces that are still in memory.
            client.store.get_trace_info(trace_id)
        except MlflowException as error:
            if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"):
                raise
            return True
        return False

    return {i for i, gone in zip(trace_ids, in_threads(missing, trace_ids), strict=True) if gone}


def _write(client: TracingClient, rows: Sequence[WrittenRow], experiment_id: str) -> None:
    from mlflow.exceptions import MlflowException

    traces = [spans_of(row) for row in rows]
    try:
        client.log_spans(experiment_id, [span for spans in traces for span in spans])
    except (MlflowException, NotImplementedError, AttributeError, TypeError) as error:
        if is_passing(error):
            raise
        _logger.info("MLflow's store refuses spans in one call; trace by trace then: %s", error)
        in_threads(
            lambda both: _write_one(client, *both, experiment_id),
            zip(rows, traces, strict=True),
        )


def _write_one(
    client: TracingClient, row: WrittenRow, spans: list[Span], experiment_id: str
) -> None:
    """What MLflow 3.17's exporter does with a trace (`mlflow.tracing.export.mlflow_v3`)."""
    from mlflow.entities import TraceData

    info = client.start_trace(_trace_info(row, spans[0], experiment_id))
    client._upload_trace_data(info, TraceData(spans=spans))


def _trace_info(row: WrittenRow, root: Span, experiment_id: str) -> TraceInfo:
    from mlflow.entities import TraceInfo, TraceLocation, TraceState

    began, ended = root.start_time_ns // 1_000_000, (root.end_time_ns or 0) // 1_000_000
    outcome = row.row.outcome
    usage = {
        "input_tokens": outcome.input_tokens or 0,
        "output_tokens": outcome.output_tokens or 0,
        "total_tokens": (outcome.input_tokens or 0) + (outcome.output_tokens or 0),
    }
    return TraceInfo(
        trace_id=row.trace_id,
        trace_location=TraceLocation.from_experiment_id(experiment_id),
        request_time=began,
        execution_duration=ended - began,
        state=TraceState.OK if outcome.error is None else TraceState.ERROR,
        request_preview=_preview(root.inputs),
        response_preview=_preview(root.outputs),
        tags={REQUEST_ID_TAG: row.request_id, "mlflow.traceName": root.name},
        trace_metadata={
            "mlflow.trace_schema.version": "3",
            **({"mlflow.trace.tokenUsage": json.dumps(usage)} if usage["total_tokens"] else {}),
        },
    )


def _preview(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text[:_PREVIEW]
