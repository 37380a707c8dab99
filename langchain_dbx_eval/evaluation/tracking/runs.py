"""An evaluation as a run of an MLflow store.

All calls use explicit ids, never MLflow's "active" run, which belongs to a thread: evaluations are
written in the background. Every write can be repeated without adding anything a second time. Tags
and attributes are those of `mlflow.genai.evaluate`, so that MLflow's UI lists the run under
"Evaluation runs" (MLflow 3.17).
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from langchain_dbx_eval._internal.imports import require
from langchain_dbx_eval._internal.log import get_logger
from langchain_dbx_eval.evaluation.journal.manifest import Destination, EvaluationManifest
from langchain_dbx_eval.evaluation.journal.rows import Row
from langchain_dbx_eval.evaluation.tracking.assessments import (
    assessments_of,
    delete_feedback,
    write_assessments,
)
from langchain_dbx_eval.evaluation.tracking.metrics import legal_metric_names, log_metrics
from langchain_dbx_eval.evaluation.tracking.store_access import probe, with_retries
from langchain_dbx_eval.evaluation.tracking.traces import write_traces
from langchain_dbx_eval.scoring.aggregates import Summary

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient
    from mlflow.data.dataset import Dataset
    from mlflow.entities import Run

__all__ = [
    "SUMMARY_FILE",
    "TABLE_FILE",
    "MlflowRun",
    "current_destination",
    "log_file",
    "stored_destination",
    "table_file",
]

_logger = get_logger(__name__)

TABLE_FILE = "eval_results.json"
"""The artifact with ``tables["eval_results"]``, under Agent Evaluation's name.

The table of a further evaluation in the same run is ``eval_results_2.json``, and so on.
"""

SUMMARY_FILE = "eval_summary.json"
"""The artifact with the metrics, their intervals and their coverage; numbered as `TABLE_FILE`."""

_EVALUATION_TAG = "dbx_eval.evaluationId"
_RUN_TYPE = {"mlflow.runType": "genai_evaluate"}
_TABLES_TAG = "mlflow.loggedArtifacts"
# Of a run of the user: the file of each evaluation's table, by evaluation id.
_TABLE_FILES_TAG = "dbx_eval.tables"
# The description of a run, which MLflow's UI shows above its metrics.
_NOTE_TAG = "mlflow.note.content"
_NOTE_END = "*Written by langchain-dbx-eval; docs/statistics.md explains the numbers.*"
# A tag of Databricks has 8,000 bytes.
_MAX_NOTE = 5000
_ERROR_COUNT = re.compile("judge/.+/error_count")
# MLflow's `MAX_TRACE_LINKS_PER_REQUEST`.
_MAX_LINKS = 100
_MAX_RENAMED = 5


def current_destination(*, run_name: str | None, experiment_name: str | None) -> Destination:
    """Return MLflow's current destination in this thread, without a request to its server.

    Args:
        run_name: The name of a new run.
        experiment_name: The experiment; None: MLflow's current one.
    """
    mlflow = require("mlflow", extra="eval")
    active = mlflow.active_run()
    # Set by `mlflow.set_experiment`. MLflow's own accessor sends a request.
    experiment_id = getattr(mlflow.tracking.fluent, "_active_experiment_id", None)
    if active is not None:
        experiment_id, experiment_name = active.info.experiment_id, None
    return Destination(
        tracking_uri=mlflow.get_tracking_uri(),
        experiment_name=experiment_name,
        experiment_id=None if experiment_name else experiment_id,
        run_name=run_name,
        run_id=active.info.run_id if active is not None else None,
    )


def stored_destination(manifest: EvaluationManifest) -> Destination:
    """Return the destination of an earlier evaluation.

    Its run, if it has one, takes precedence over MLflow's current experiment: the rows of one
    evaluation must not be divided between two runs. A callback whose process ended before `result`
    has no destination yet: MLflow's current store.
    """
    stored = manifest.destination
    return replace(stored, run_id=manifest.run_id or stored.run_id)


def log_file(manifest: EvaluationManifest, path: Path) -> None:
    """Log a file as an artifact of the run of an earlier evaluation.

    Raises:
        TrackingError: The store cannot be reached, or rejects the call.
    """
    mlflow = require("mlflow", extra="eval")
    uri = manifest.destination.tracking_uri or mlflow.get_tracking_uri()
    probe(uri)
    client = mlflow.MlflowClient(uri)
    with_retries(uri, lambda: client.log_artifact(manifest.run_id, str(path)))


class MlflowRun:
    """The run to which an evaluation is written; `open` returns it.

    Attributes:
        tracking_uri: The store.
        run_id: The id of the run.
        experiment_id: The id of its experiment.
        is_ours: Whether the run was created for an evaluation, and so ends with it.
    """

    def __init__(self, tracking_uri: str, run: Run, evaluation_id: str) -> None:
        from mlflow.tracing.client import TracingClient

        self.tracking_uri = tracking_uri
        self.run_id: str = run.info.run_id
        self.experiment_id: str = run.info.experiment_id
        self.is_ours = _EVALUATION_TAG in run.data.tags
        self._evaluation_id = evaluation_id
        self._client = require("mlflow", extra="eval").MlflowClient(tracking_uri)
        self._tracing = TracingClient(tracking_uri)

    @classmethod
    def open(
        cls, destination: Destination, evaluation_id: str, *, is_new: bool = False
    ) -> MlflowRun:
        """Return the run of an evaluation: the existing one, or a new one.

        Args:
            destination: The store, and the run or the experiment.
            evaluation_id: The id of the evaluation. A run that was created for it is found again.
            is_new: Whether no run was created for it yet, so that the search can be left out.

        Raises:
            TrackingError: The store cannot be reached or rejects the call, or there is no such run.
        """
        mlflow = require("mlflow", extra="eval")
        uri = destination.tracking_uri or mlflow.get_tracking_uri()
        probe(uri)
        attempts = count()

        def find_or_create() -> MlflowRun:
            client = mlflow.MlflowClient(uri)
            # A failed attempt may have created the run.
            searches = next(attempts) > 0 or not is_new
            if destination.run_id is not None:
                run = client.get_run(destination.run_id)
                for key, value in _RUN_TYPE.items():
                    client.set_tag(run.info.run_id, key, value)
            else:
                run = _find_or_create_run(client, destination, evaluation_id, searches)
            opened = cls(uri, run, evaluation_id)
            if opened.is_ours and run.info.status != "RUNNING":
                client.update_run(opened.run_id, status="RUNNING")
            return opened

        return with_retries(uri, find_or_create)

    def log_dataset(self, dataset: Dataset) -> None:
        """Log a dataset as the run's input.

        Raises:
            TrackingError: The store cannot be reached, or rejects the call.
        """
        from mlflow.entities import DatasetInput, InputTag

        tags = [InputTag("mlflow.data.context", "evaluation")]
        inputs = [DatasetInput(dataset._to_mlflow_entity(), tags)]
        # A store identifies inputs by name and digest: a second call adds nothing.
        with_retries(
            self.tracking_uri, lambda: self._client.log_inputs(self.run_id, datasets=inputs)
        )

    def set_tag(self, name: str, value: str) -> None:
        """Set a tag of the run.

        Raises:
            TrackingError: The store cannot be reached, or rejects the call.
        """
        with_retries(self.tracking_uri, lambda: self._client.set_tag(self.run_id, name, value))

    def write_rows(self, rows: Sequence[Row], *, maybe_written: bool = False) -> list[str]:
        """Write a trace for each row, with its assessments, and link it to the run.

        Args:
            rows: The rows, about 200: fewer take more calls per row, and more hold the locks of the
                database longer.
            maybe_written: Whether some of them may have been written before.

        Returns:
            The id of each row's trace: `spans.trace_id_of` the row, or that of autologging's trace.

        Raises:
            TrackingError: The store cannot be reached, or rejects the call. Some of the rows may
                have been written.
        """
        attempts = count()

        def write() -> list[str]:
            is_repeated = next(attempts) > 0 or maybe_written
            trace_ids = write_traces(self._tracing, rows, self._evaluation_id, self.experiment_id)
            # Several rows may be parts of one trace that MLflow wrote. MLflow (3.17) links none if
            # an id is repeated.
            linked = list(dict.fromkeys(trace_ids))
            for start in range(0, len(linked), _MAX_LINKS):
                self._client.link_traces_to_run(linked[start : start + _MAX_LINKS], self.run_id)
            assessments = [
                assessment
                for row, trace_id in zip(rows, trace_ids, strict=True)
                for assessment in assessments_of(row, trace_id, self.run_id)
            ]
            write_assessments(self._tracing, assessments, maybe_written=is_repeated)
            return trace_ids

        probe(self.tracking_uri)
        return with_retries(self.tracking_uri, write)

    def delete_replaced(self, traces: Mapping[str, Sequence[str] | None]) -> None:
        """Delete what retried rows replace, so that their new traces and scores can be written.

        Args:
            traces: See `EvaluationManifest.replaced_traces`. Ids that are not in the store are
                ignored.

        Raises:
            TrackingError: The store cannot be reached, or rejects the call.
        """
        deleted = [trace_id for trace_id, names in traces.items() if names is None]

        def delete() -> None:
            for start in range(0, len(deleted), _MAX_LINKS):
                batch = deleted[start : start + _MAX_LINKS]
                self._tracing.delete_traces(self.experiment_id, trace_ids=batch)
            delete_feedback(
                self._tracing,
                {trace_id: names for trace_id, names in traces.items() if names is not None},
                self.run_id,
            )

        probe(self.tracking_uri)
        with_retries(self.tracking_uri, delete)

    def mark_failed(self) -> None:
        """End the run as failed; a run of the user's stays active.

        Raises:
            TrackingError: The store cannot be reached, or rejects the call.
        """
        if self.is_ours:
            end = self._client.set_terminated
            with_retries(self.tracking_uri, lambda: end(self.run_id, "FAILED"))

    def finish(
        self,
        metrics: Mapping[str, float],
        table: Iterable[pd.DataFrame],
        *,
        status: Literal["FINISHED", "FAILED", "KILLED"] = "FINISHED",
        summary: Summary | None = None,
    ) -> None:
        """Write metrics and table, which replace those of an earlier call, and end the run.

        Args:
            metrics: The run's metrics, by name.
            table: The pages of the table that `mlflow.load_table` returns for `TABLE_FILE`.
            status: The status of the run; a run of the user's stays active.
            summary: The intervals and coverage of the metrics, which MLflow's metrics cannot
                contain: written as `SUMMARY_FILE`, and as the description of a run that was created
                for an evaluation.

        Raises:
            TrackingError: The store cannot be reached, or rejects the call.
        """
        probe(self.tracking_uri)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, with_retries(self.tracking_uri, self._reserve_table_file))
            _write_table(table, path)
            paths = [path]
            if summary is not None:
                pandas = require("pandas", extra="eval")
                lines = [metric.to_dict() for _, metric in sorted(summary.details.items())]
                paths.append(path.with_name(path.name.replace("results", "summary")))
                _write_table([pandas.DataFrame(lines)], paths[-1])

            def write() -> None:
                self._client.log_artifacts(self.run_id, folder)
                # Each call is a transaction of the store, which an evaluation of few rows notices.
                run = self._client.get_run(self.run_id)
                self._log_metrics(run, metrics, self._new_tags(run, paths, summary))
                if self.is_ours:
                    self._client.set_terminated(self.run_id, status)

            with_retries(self.tracking_uri, write)

    def _reserve_table_file(self) -> str:
        """Return the file of this evaluation's table, which no other one in the run has."""
        if self.is_ours:
            return TABLE_FILE
        files = _table_files(self._client.get_run(self.run_id))
        if self._evaluation_id not in files:
            name, number = TABLE_FILE, len(files) + 1
            if files:
                name = TABLE_FILE.replace(".", f"_{number}.")
            files[self._evaluation_id] = name
            self._client.set_tag(self.run_id, _TABLE_FILES_TAG, json.dumps(files))
        return files[self._evaluation_id]

    def _new_tags(
        self, run: Run, tables: Sequence[Path], summary: Summary | None
    ) -> dict[str, str]:
        """Return the list of the run's tables, and its description, by tag."""
        entries: list[Any] = json.loads(run.data.tags.get(_TABLES_TAG, "[]"))
        new = [{"path": path.name, "type": "table"} for path in tables]
        tags = {_TABLES_TAG: json.dumps([*entries, *(one for one in new if one not in entries)])}
        # The user may have replaced the description.
        if summary is not None and run.data.tags.get(_NOTE_TAG, _NOTE_END).endswith(_NOTE_END):
            tags |= {_NOTE_TAG: _note(summary)} if self.is_ours else {}
        return tags

    def _log_metrics(self, run: Run, metrics: Mapping[str, float], tags: Mapping[str, str]) -> None:
        names = legal_metric_names(metrics)
        renamed = [f"{name!r} as {legal!r}" for name, legal in names.items() if name != legal]
        if renamed:
            _logger.warning(
                "MLflow does not accept the names of %d metrics. It has %s%s.",
                len(renamed),
                ", ".join(renamed[:_MAX_RENAMED]),
                ", …" if len(renamed) > _MAX_RENAMED else "",
            )
        values = {names[name]: value for name, value in metrics.items()}
        if self.is_ours:
            # MLflow deletes no metric: those of scorers that no longer fail are 0.
            solved = {name: 0.0 for name in run.data.metrics if _ERROR_COUNT.fullmatch(name)}
            values = {**solved, **values}
        log_metrics(self._client, run, values, tags)


def table_file(run: Run, evaluation_id: str) -> str:
    """Return the name of the artifact with the table of an evaluation in a run."""
    return _table_files(run).get(evaluation_id, TABLE_FILE)


def _note(summary: Summary) -> str:
    """Return what the metrics of a run cover, as Markdown."""
    lines = [f"**{summary.warning}**", ""] if summary.warning else []
    lines += ["| metric | value [95 % interval], rows | failures as 0 |", "|---|---|---|"]
    size = len(_NOTE_END) + sum(map(len, lines))
    for line in summary.lines():
        cells = f"| {' | '.join(' '.join(text.replace('|', '/').split()) for text in line)} |"
        size += len(cells) + 1
        if size > _MAX_NOTE:
            break
        lines.append(cells)
    return "\n".join([*lines, "", _NOTE_END])


def _table_files(run: Run) -> dict[str, str]:
    files: dict[str, str] = json.loads(run.data.tags.get(_TABLE_FILES_TAG, "{}"))
    return files


def _find_or_create_run(
    client: MlflowClient, destination: Destination, evaluation_id: str, searches: bool
) -> Run:
    from mlflow.tracking.context.registry import resolve_tags

    experiment_id = _experiment_id(client, destination)
    if searches:
        [*found] = client.search_runs(
            [experiment_id], f"tags.`{_EVALUATION_TAG}` = '{evaluation_id}'", max_results=1
        )
        if found:
            return found[0]
    # `resolve_tags` adds the user and the source file or notebook, as `mlflow.start_run` does.
    tags = resolve_tags({**_RUN_TYPE, _EVALUATION_TAG: evaluation_id})
    return client.create_run(experiment_id, None, tags, destination.run_name)


def _experiment_id(client: MlflowClient, destination: Destination) -> str:
    from mlflow.tracking.fluent import _get_experiment_id

    name = destination.experiment_name
    if name is None:
        # The experiment of the notebook or of the environment, else MLflow's default.
        return destination.experiment_id or str(_get_experiment_id())
    experiment = client.get_experiment_by_name(name)
    return str(experiment.experiment_id if experiment else client.create_experiment(name))


def _write_table(pages: Iterable[pd.DataFrame], path: Path) -> None:
    """Write a table as `mlflow.log_table` does, with one page in memory.

    `mlflow.log_table` itself would append to an existing table.
    """
    with path.open("w", encoding="utf-8") as file:
        written = None
        for page in pages:
            if written is None:
                file.write(f'{{"columns":{json.dumps(list(page.columns))},"data":[')
            lines = page.to_json(orient="values", date_format="iso", default_handler=str)[1:-1]
            file.write(f",{lines}" if written and lines else lines)
            written = written or lines
        file.write("]}")
