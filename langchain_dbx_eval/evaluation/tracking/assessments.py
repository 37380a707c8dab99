"""What scorers say of a row, as assessments of its MLflow trace.

An assessment's id follows from its run, its trace and its name, so that one which is written twice
is there once. A store in this process takes all of a batch in one transaction (`sql_store`); any
other takes them one by one, so a few threads write them.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import NAMESPACE_OID, uuid5

from langchain_dbx_eval.evaluation.journal.rows import Row
from langchain_dbx_eval.evaluation.tracking import sql_store
from langchain_dbx_eval.evaluation.tracking.spans import plain
from langchain_dbx_eval.evaluation.tracking.store_access import is_passing
from langchain_dbx_eval.scoring import Assessment

if TYPE_CHECKING:
    from mlflow.entities import Assessment as MlflowAssessment
    from mlflow.tracing.client import TracingClient

__all__ = ["assessments_of", "in_threads", "write_assessments"]

_logger = logging.getLogger(__name__)

_SOURCE_RUN = "mlflow.assessment.sourceRunId"
_THREADS = 8

_Item = TypeVar("_Item")
_Answer = TypeVar("_Answer")


def assessments_of(row: Row, trace_id: str, run_id: str) -> list[MlflowAssessment]:
    """What is said of a row, and what was expected of it, as assessments of its trace.

    Args:
        row: The row.
        trace_id: The trace that holds it.
        run_id: The run that it was evaluated in.
    """
    told = list(_entities(row, run_id))
    is_autologs = row.run is not None and trace_id == row.run.trace_id
    span_id = row.run.trace_span_id if row.run is not None and is_autologs else None
    seen: Counter[str] = Counter()
    for assessment in told:
        kind = "feedback" if assessment.feedback is not None else "expectation"
        # The row too: calls inside of one another may share a trace of MLflow's own tracer.
        identity = f"{run_id}/{trace_id}/{row.number}/{row.repetition}/{kind}/{assessment.name}"
        # A scorer may speak of each document under one name.
        seen[identity] += 1
        assessment.trace_id = trace_id
        assessment.span_id = span_id
        assessment.assessment_id = f"a-{uuid5(NAMESPACE_OID, f'{identity}/{seen[identity]}').hex}"
    return told


def write_assessments(
    client: TracingClient, assessments: Sequence[MlflowAssessment], *, maybe_written: bool
) -> None:
    """Write assessments of traces that the store has, each once.

    Args:
        client: The store.
        assessments: What to write, by `assessments_of`.
        maybe_written: Whether some may be there already, which costs a look at each trace where
            the store is not in this process.
    """
    from mlflow.exceptions import MlflowException

    try:
        if sql_store.insert(client.store, assessments):
            return
    except (ImportError, AttributeError, TypeError, MlflowException) as error:
        if is_passing(error):
            raise
        _logger.info("MLflow's store refuses assessments in one call; one by one then: %s", error)
        maybe_written = True
    _write_one_by_one(client, assessments, maybe_written)


def in_threads(action: Callable[[_Item], _Answer], items: Iterable[_Item]) -> list[_Answer]:
    """Do something with each item, a few at once; the first failure is raised, the rest left."""
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="mlflow-writer") as threads:
        futures = [threads.submit(action, item) for item in items]
        try:
            return [future.result() for future in futures]
        finally:
            threads.shutdown(cancel_futures=True)


def _write_one_by_one(
    client: TracingClient, assessments: Sequence[MlflowAssessment], maybe_written: bool
) -> None:
    by_trace: dict[str, list[MlflowAssessment]] = {}
    for assessment in assessments:
        by_trace.setdefault(str(assessment.trace_id), []).append(assessment)

    def write(trace_id: str) -> None:
        wanted = by_trace[trace_id]
        if maybe_written:
            wanted = _missing(wanted, client.get_trace_info(trace_id).assessments)
        for assessment in wanted:
            client.log_assessment(trace_id, assessment)

    in_threads(write, by_trace)


def _missing(
    wanted: Sequence[MlflowAssessment], there: Iterable[MlflowAssessment]
) -> list[MlflowAssessment]:
    """Those that a trace does not have.

    A server may give ids of its own (Databricks), so that what has our run and none of our ids is
    told by its name.
    """
    ids = {assessment.assessment_id for assessment in wanted}
    runs = {_run_and_name(assessment)[0] for assessment in wanted}
    ours = [a for a in there if _run_and_name(a)[0] in runs]
    written = {a.assessment_id for a in ours}
    renamed = Counter(_run_and_name(a) for a in ours if a.assessment_id not in ids)
    missing = []
    for assessment in wanted:
        if assessment.assessment_id in written:
            continue
        if renamed[_run_and_name(assessment)] > 0:
            renamed[_run_and_name(assessment)] -= 1
            continue
        missing.append(assessment)
    return missing


def _run_and_name(assessment: MlflowAssessment) -> tuple[str | None, bool, str]:
    run = (assessment.metadata or {}).get(_SOURCE_RUN)
    return run, assessment.feedback is not None, assessment.name


def _entities(row: Row, run_id: str) -> Iterator[MlflowAssessment]:
    from mlflow.entities import AssessmentError, AssessmentSource, Expectation, Feedback

    source_run = {_SOURCE_RUN: run_id}
    for said in row.assessments:
        by = said.metadata.get("judge_model", "langchain-dbx-eval")
        yield Feedback(
            name=said.name,
            value=_json_value(said.value),
            error=None
            if said.error is None
            else AssessmentError(error_code="SCORER_ERROR", error_message=said.error),
            rationale=said.rationale,
            source=AssessmentSource(source_type=said.source, source_id=by),
            metadata={**source_run, **said.metadata, **_judge_cost(said)},
        )
    if row.matched:
        for name, value in row.record.expectations.items():
            yield Expectation(name=name, value=_json_value(value), metadata=dict(source_run))


def _json_value(value: Any) -> Any:
    """A value that JSON and protobuf have a form for, which they have not for NaN."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else plain(value)


def _judge_cost(said: Assessment) -> dict[str, str]:
    """What a judge took, under the names that MLflow gives it for its own judges."""
    usage = said.usage
    if usage is None:
        return {}
    told = {
        "mlflow.assessment.judgeInputTokens": usage.input_tokens,
        "mlflow.assessment.judgeOutputTokens": usage.output_tokens,
        "mlflow.assessment.judgeCost": usage.cost_usd,
    }
    return {name: str(value) for name, value in told.items() if value is not None}
