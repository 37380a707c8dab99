"""All assessments of a batch in one transaction, where MLflow's store is in this process.

MLflow has no call for more than one assessment: its own takes 4 to 6 ms each (MLflow 3.17.2,
SQLite), most of it for transactions. This is the one place that reaches into MLflow's store
(`mlflow.store.tracking.sqlalchemy_store`, `create_assessment`). Whatever it does not find as it
knows it, it leaves to the caller, who has MLflow's public way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow.entities import Assessment

__all__ = ["insert"]


def insert(store: Any, assessments: Sequence[Assessment]) -> bool:
    """Add assessments to their traces, each of them once, all or none.

    Args:
        store: MLflow's tracking store.
        assessments: What to add, with the ids of their traces and their own. Those that the store
            has already stay as they are: somebody may have corrected them.

    Returns:
        Whether it was done; False where the store is none that takes them this way.

    Raises:
        MlflowException: A trace is not there, or the database refuses.
    """
    from mlflow.store.tracking.dbmodels.models import SqlAssessments
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
    from mlflow.store.tracking.utils.sql_trace_rollups import rollups_enabled

    # With rollups, an assessment also counts into tables whose locks have an order to be kept.
    if not isinstance(store, SqlAlchemyStore) or rollups_enabled():
        return False
    with store.ManagedSessionMaker(read_only=False) as session:
        ids = [assessment.assessment_id for assessment in assessments]
        there = session.query(SqlAssessments.assessment_id).filter(
            SqlAssessments.assessment_id.in_(ids)
        )
        known = {assessment_id for (assessment_id,) in there}
        new = [a for a in assessments if a.assessment_id not in known]
        traces = _traces(store, session, {str(a.trace_id) for a in new})
        for assessment in new:
            row = SqlAssessments.from_mlflow_entity(assessment)
            row.experiment_id, row.trace_timestamp_ms = traces[str(assessment.trace_id)]
            session.add(row)
    return True


def _traces(store: Any, session: Any, trace_ids: set[str]) -> dict[str, tuple[int, int]]:
    """Experiment and time of each trace, which its assessments carry too."""
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST
    from mlflow.store.tracking.dbmodels.models import SqlTraceInfo

    # The rows are locked: spans that come late would move a trace's time under its assessments.
    found = (
        store._trace_query(session, for_update_or_delete=True)
        .filter(SqlTraceInfo.request_id.in_(trace_ids))
        .order_by(SqlTraceInfo.request_id)
        .with_entities(
            SqlTraceInfo.request_id, SqlTraceInfo.experiment_id, SqlTraceInfo.timestamp_ms
        )
    )
    traces = {trace_id: (experiment, time) for trace_id, experiment, time in found}
    if missing := trace_ids - traces.keys():
        msg = f"There is no trace {min(missing)} (and {len(missing) - 1} more) to assess."
        raise MlflowException(msg, RESOURCE_DOES_NOT_EXIST)
    return traces
