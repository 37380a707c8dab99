"""One evaluation as a run of an MLflow store.

Everything goes by explicit ids, never by MLflow's "active" run, which belongs to a thread: an
evaluation is written from the background. Everything may be done twice and is there once, so that
whoever is unsure whether it was done does it again. Tags and attributes are those that
`mlflow.genai.evaluate` leaves, so that MLflow's UI lists the run under "Evaluation runs" (seen in
MLflow 3.17).
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from langchain_dbx_eval._internal.extras import require
from langchain_dbx_eval.evaluation.tracking.assessments import assessments_of, write_assessments
from langchain_dbx_eval.evaluation.tracking.spans import WrittenRow
from langchain_dbx_eval.evaluation.tracking.store_access import probe, with_retries
from langchain_dbx_eval.evaluation.tracking.traces import write_traces

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.data.dataset import Dataset
    from mlflow.entities import Run

__all__ = ["TABLE_FILE", "MlflowRun"]

TABLE_FILE = "eval_results.json"
"""The artifact that holds ``tables["eval_results"]``, under Agent Evaluation's name."""

_EVALUATION_TAG = "dbx_eval.evaluationId"
_RUN_TYPE = {"mlflow.runType": "genai_evaluate"}
_TABLES_TAG = "mlflow.loggedArtifacts"
# MLflow's own limits: `MAX_TRACE_LINKS_PER_REQUEST`, `MAX_METRICS_PER_BATCH`.
_LINKS_PER_CALL = 100
_METRICS_PER_CALL = 1000
_ROWS_PER_CALL = 200


class MlflowRun:
    """A run that an evaluation is written to.

    Args:
        tracking_uri: The store.
        run: The run, as the store has it.

    Attributes:
        tracking_uri: The store.
        run_id: The run.
        experiment_id: Its experiment.
        is_ours: Whether the run was begun for an evaluation, and so ends with it.
    """

    def __init__(self, tracking_uri: str, run: Run) -> None:
        from mlflow.tracing.client import TracingClient

        self.tracking_uri = tracking_uri
        self.run_id: str = run.info.run_id
        self.experiment_id: str = run.info.experiment_id
        self.is_ours = _EVALUATION_TAG in run.data.tags
        self._client = require("mlflow", extra="eval").MlflowClient(tracking_uri)
        self._tracing = TracingClient(tracking_uri)

    @classmethod
    def begin(
        cls, *, tracking_uri: str, experiment_id: str, run_name: str | None, evaluation_id: str
    ) -> MlflowRun:
        """The run of an evaluation: the one that it has already, else a new one.

        Args:
            tracking_uri: The store.
            experiment_id: The experiment.
            run_name: The name of a new run; None lets MLflow find one.
            evaluation_id: What tells this evaluation from all others.

        Raises:
            TrackingError: The store cannot be reached, or refuses.
        """
        mlflow = require("mlflow", extra="eval")
        probe(tracking_uri)

        def find_or_create(again: bool) -> MlflowRun:  # noqa: ARG001
            from mlflow.tracking.context.registry import resolve_tags

            client = mlflow.MlflowClient(tracking_uri)
            [*found] = client.search_runs(
                [experiment_id], f"tags.`{_EVALUATION_TAG}` = '{evaluation_id}'", max_results=1
            )
            if found:
                return cls._resumed(tracking_uri, found[0])
            # Who runs it, and from which file or notebook, as `mlflow.start_run` tells it.
            tags = resolve_tags({**_RUN_TYPE, _EVALUATION_TAG: evaluation_id})
            return cls(tracking_uri, client.create_run(experiment_id, None, tags, run_name))

        return with_retries(tracking_uri, find_or_create)

    @classmethod
    def attach(cls, *, tracking_uri: str, run_id: str) -> MlflowRun:
        """A run that is there: the user's active one, or one of an earlier evaluation.

        Raises:
            TrackingError: There is none of this id, the store cannot be reached, or it refuses.
        """
        mlflow = require("mlflow", extra="eval")
        probe(tracking_uri)

        def attach(again: bool) -> MlflowRun:  # noqa: ARG001
            client = mlflow.MlflowClient(tracking_uri)
            run = client.get_run(run_id)
            for key, value in _RUN_TYPE.items():
                client.set_tag(run_id, key, value)
            return cls._resumed(tracking_uri, run)

        return with_retries(tracking_uri, attach)

    @classmethod
    def _resumed(cls, tracking_uri: str, run: Run) -> MlflowRun:
        resumed = cls(tracking_uri, run)
        if resumed.is_ours and run.info.status != "RUNNING":
            resumed._client.update_run(resumed.run_id, status="RUNNING")
        return resumed

    def log_dataset(self, dataset: Dataset) -> None:
        """Name a dataset as the run's input.

        Raises:
            TrackingError: The store cannot be reached, or refuses.
        """
        from mlflow.entities import Dataset as DatasetEntity
        from mlflow.entities import DatasetInput, InputTag

        told = dataset.to_dict()
        entity = DatasetEntity(
            name=told["name"],
            digest=told["digest"],
            source_type=told["source_type"],
            source=told["source"],
            schema=told.get("schema"),
            profile=told.get("profile"),
        )
        given = DatasetInput(entity, [InputTag("mlflow.data.context", "evaluation")])
        probe(self.tracking_uri)
        # A store keeps inputs by name and digest, so that a second time adds nothing.
        with_retries(
            self.tracking_uri, lambda _: self._client.log_inputs(self.run_id, datasets=[given])
        )

    def write_rows(self, rows: Sequence[WrittenRow], *, maybe_written: bool = False) -> list[str]:
        """Write rows: a trace for each, linked to the run, with what is said of it.

        Args:
            rows: The rows. About 200 at once are best: fewer cost more calls, and more than that
                only hold the database longer.
            maybe_written: Whether some of them may have been written before.

        Returns:
            The trace of each row: its `WrittenRow.trace_id`, or autologging's.

        Raises:
            TrackingError: The store cannot be reached, or refuses. Some of the rows may be there.
        """
        probe(self.tracking_uri)
        trace_ids: list[str] = []
        for start in range(0, len(rows), _ROWS_PER_CALL):
            batch = rows[start : start + _ROWS_PER_CALL]
            trace_ids += with_retries(
                self.tracking_uri,
                lambda again, batch=batch: self._write(batch, maybe_written or again),  # type: ignore[misc]
            )
        return trace_ids

    def _write(self, rows: Sequence[WrittenRow], maybe_written: bool) -> list[str]:
        trace_ids = write_traces(self._tracing, rows, self.experiment_id)
        for start in range(0, len(trace_ids), _LINKS_PER_CALL):
            self._client.link_traces_to_run(trace_ids[start : start + _LINKS_PER_CALL], self.run_id)
        assessments = [
            assessment
            for row, trace_id in zip(rows, trace_ids, strict=True)
            for assessment in assessments_of(row.row, trace_id, self.run_id)
        ]
        write_assessments(self._tracing, assessments, maybe_written=maybe_written)
        return trace_ids

    def finish(
        self,
        metrics: Mapping[str, float],
        table: Iterable[pd.DataFrame],
        *,
        status: Literal["FINISHED", "FAILED", "KILLED"] = "FINISHED",
    ) -> None:
        """Write what is known at the end, in the place of what an earlier end wrote.

        Args:
            metrics: The run's metrics, by name.
            table: What `mlflow.load_table` gives for `TABLE_FILE`, some lines at a time.
            status: How the run ended; a run that is the user's goes on.

        Raises:
            TrackingError: The store cannot be reached, or refuses.
        """
        probe(self.tracking_uri)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, TABLE_FILE)
            _write_table(table, path)
            with_retries(self.tracking_uri, lambda _: self._log_table(path))
        with_retries(self.tracking_uri, lambda _: self._log_metrics(metrics))
        if self.is_ours:
            with_retries(
                self.tracking_uri, lambda _: self._client.set_terminated(self.run_id, status)
            )

    def _log_table(self, path: Path) -> None:
        self._client.log_artifact(self.run_id, str(path))
        tags = self._client.get_run(self.run_id).data.tags
        tables: list[Any] = json.loads(tags.get(_TABLES_TAG, "[]"))
        this = {"path": TABLE_FILE, "type": "table"}
        if this not in tables:
            self._client.set_tag(self.run_id, _TABLES_TAG, json.dumps([*tables, this]))

    def _log_metrics(self, metrics: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        there = self._client.get_run(self.run_id).data.metrics
        now = time.time_ns() // 1_000_000
        changed = [
            Metric(name, float(value), now, 0)
            for name, value in metrics.items()
            if there.get(name) != value
        ]
        for start in range(0, len(changed), _METRICS_PER_CALL):
            self._client.log_batch(self.run_id, changed[start : start + _METRICS_PER_CALL])


def _write_table(pages: Iterable[pd.DataFrame], path: Path) -> None:
    """Write a table as `mlflow.log_table` does, without all of it in memory.

    Not by `mlflow.log_table` itself, which would append to a table that is there.
    """
    with path.open("w", encoding="utf-8") as file:
        before = None
        for page in pages:
            if before is None:
                file.write(f'{{"columns":{json.dumps(list(page.columns))},"data":[')
            lines = page.to_json(orient="values", date_format="iso", default_handler=str)[1:-1]
            file.write(f",{lines}" if before and lines else lines)
            before = before or lines
        file.write("]}")
