"""Writes the assessments of a batch in one transaction, if MLflow's store is in this process.

MLflow has no call for more than one assessment: its own takes 4 to 6 ms each (MLflow 3.17.2,
SQLite), most of it for transactions. This is the only module that uses internals of MLflow's store
(`mlflow.store.tracking.sqlalchemy_store`, `create_assessment`). If they are not as expected, the
caller uses MLflow's public API.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow.entities import Assessment

__all__ = ["insert"]


def insert(store: Any, assessments: Sequence[Assessment]) -> bool:
    """Add assessments to their traces, each once, all or none.

    Args:
        store: MLflow's tracking store.
        assessments: The assessments, with the ids of their traces and their own. Those that are in
            the store already stay as they are: a user may have corrected them.

    Returns:
        Whether they were added; False if the store is of another kind.

    Raises:
        MlflowException: A trace does not exist, or the database rejects the transaction.
    """
    from mlflow.store.tracking.dbmodels.models import SqlAssessments
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
    from mlflow.store.tracking.utils.sql_trace_rollups import rollups_enabled

    # With rollups, an assessment also updates tables whose locks must be taken in a fixed order.
    if not isinstance(store, SqlAlchemyStore) or rollups_enabled():
        return False
    with store.ManagedSessionMaker(read_only=False) as session:
        ids = [assessment.assessment_id for assessment in assessments]
        column: Any = SqlAssessments.assessment_id
        known = {known_id for (known_id,) in session.query(column).filter(column.in_(ids))}
        new = [a for a in assessments if a.assessment_id not in known]
        traces = _traces(store, session, {str(a.trace_id) for a in new})
        for assessment in new:
            row = SqlAssessments.from_mlflow_entity(assessment)
            row.experiment_id, row.trace_timestamp_ms = traces[str(assessment.trace_id)]
            session.add(row)
    return True


def _traces(store: Any, session: Any, trace_ids: set[str]) -> dict[str, tuple[int, int]]:
    """Return the experiment and the timestamp of each trace, which its assessments repeat."""
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST
    from mlflow.store.tracking.dbmodels.models import SqlTraceInfo

    # The rows are locked: a span that arrives now would change the timestamp of its trace.
    found = (
        store._trace_query(session, for_update_or_delete=True)
        .filter(SqlTraceInfo.request_id.in_(trace_ids))
        .order_by(SqlTraceInfo.request_id)
        .with_entities(
            SqlTraceInfo.request_id, SqlTraceInfo.experiment_id, SqlTraceInfo.timestamp_ms
        )
    )
    traces = {trace_id: (experiment, timestamp) for trace_id, experiment, timestamp in found}
    if missing := trace_ids - traces.keys():
        msg = f"Trace {min(missing)} does not exist (and {len(missing) - 1} others)."
        raise MlflowException(msg, RESOURCE_DOES_NOT_EXIST)
    return traces
