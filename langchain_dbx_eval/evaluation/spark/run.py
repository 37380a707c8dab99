"""The driver of an evaluation on Spark: what is missing, the steps, the summary, MLflow."""

from __future__ import annotations

import contextlib
import hashlib
import re
import secrets
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_dbx_eval._internal.imports import require
from langchain_dbx_eval._internal.log import describe_error, get_logger
from langchain_dbx_eval._internal.paths import create_private_folder, expand_user, home
from langchain_dbx_eval.errors import (
    ConfigurationError,
    DatabricksError,
    NotFoundError,
    TrackingError,
)
from langchain_dbx_eval.evaluation.journal import codec, schema
from langchain_dbx_eval.evaluation.journal.fingerprint import fingerprint
from langchain_dbx_eval.evaluation.journal.manifest import EvaluationManifest
from langchain_dbx_eval.evaluation.journal.store import Journal
from langchain_dbx_eval.evaluation.result import summarize_rows
from langchain_dbx_eval.evaluation.run.budget import read_prices
from langchain_dbx_eval.evaluation.spark.aggregation import (
    RowFrame,
    compute_in_task,
    decode_result,
)
from langchain_dbx_eval.evaluation.spark.options import SparkOptions
from langchain_dbx_eval.evaluation.spark.records import SparkDataset, open_records
from langchain_dbx_eval.evaluation.spark.result import SparkEvaluationResult
from langchain_dbx_eval.evaluation.spark.session import spark_session
from langchain_dbx_eval.evaluation.spark.shipping import (
    ShippedModel,
    encode,
    load_scorers,
    ship_model,
    ship_scorers,
)
from langchain_dbx_eval.evaluation.spark.storage import (
    KEY,
    RESULT_SCHEMA,
    RowStore,
    default_format,
    describe_failure,
)
from langchain_dbx_eval.evaluation.spark.task import TaskSpec, run_task, scratch_folder
from langchain_dbx_eval.evaluation.tracking.runs import MlflowRun, current_destination
from langchain_dbx_eval.scoring import Scorer, select_scorers
from langchain_dbx_eval.scoring.mlflow.scorers import MlflowScorer

if TYPE_CHECKING:
    import pyarrow

__all__ = ["SparkEvaluation", "evaluate_on_spark"]

_logger = get_logger(__name__)

_BATCH = 200
_KEPT = ("answer", "outputs")
_ROWS_PER_STEP = 100
_TABLE_TAG = "dbx_eval.resultsTable"


@dataclass(frozen=True, kw_only=True)
class SparkEvaluation:
    """The arguments of `evaluate` that the Spark engine uses; `scorers` are those of the selection.

    Attributes:
        model: See `evaluate`; also an import string, or the path of a models-from-code file.
        data: See `evaluate`; also a Spark frame, or a table of the session.
        scorers: The arguments of `select_scorers`.
        input_fn: See `evaluate`.
        max_concurrency: The largest number of rows in flight in all tasks together.
        timeout: See `evaluate`.
        scorer_timeout: See `EvaluationOptions`.
        repeat: See `evaluate`.
        resume: See `evaluate`; also the results table.
        retry_failures: See `evaluate`.
        prices: See `evaluate`.
        run_name: See `evaluate`.
        experiment_name: See `evaluate`.
        allow_changes: See `EvaluationOptions`.
    """

    model: Any
    data: Any
    scorers: Mapping[str, Any]
    input_fn: Any
    max_concurrency: int
    timeout: float | None
    scorer_timeout: float | None
    repeat: int
    resume: str | Path | None
    retry_failures: bool
    prices: Any
    run_name: str | None
    experiment_name: str | None
    allow_changes: bool


def evaluate_on_spark(evaluation: SparkEvaluation, options: SparkOptions) -> SparkEvaluationResult:
    """Evaluate a model on Spark; see `evaluate`.

    Raises:
        ConfigurationError: The model or a scorer cannot be sent to the tasks, or an option is
            invalid.
        NotFoundError: The evaluation to resume does not exist.
        DatabricksError: A Spark job failed; finished steps are in the results table.
    """
    require("pyarrow", extra="spark")
    require("pyspark", extra="spark")
    # Before Spark starts: what cannot be shipped, or not be loaded, is an error at once.
    shipped = None if evaluation.model is None else ship_model(evaluation.model)
    arguments = ship_scorers(evaluation.scorers)
    input_fn = evaluation.input_fn and encode("input_fn", evaluation.input_fn)
    scorers = select_scorers(**load_scorers(arguments))
    _check_scorers(scorers)
    if shipped is not None:
        shipped.resolve()
    evaluation_id, location = _location(evaluation.resume, options)
    session = spark_session(options.session)
    store = RowStore(session, location, options.format or default_format(session))
    exists = store.exists()
    if evaluation.resume is not None and not exists:
        msg = f"There is no results table {location}, so nothing can be resumed."
        raise NotFoundError(msg)
    data = open_records(evaluation.data, session)
    count, digest = data.measure()
    manifest = replace(
        EvaluationManifest.describe(
            None,
            scorers,
            model=(shipped, shipped and _identity(shipped), evaluation.input_fn),
            repeat=evaluation.repeat,
        ),
        dataset={
            "name": data.dataset.name,
            "source": data.dataset.source,
            "version": data.dataset.version,
            "digest": digest,
            "records": count,
            "invalid_rows": 0,
        },
    )
    tasks = min(options.tasks, evaluation.max_concurrency)
    spec = TaskSpec(
        evaluation_id=evaluation_id,
        model=shipped,
        input_fn=input_fn,
        scorers=arguments,
        fingerprints=manifest.scorers,
        identity={
            "version": time.time_ns(),
            "model": manifest.model,
            "scorers": fingerprint(sorted(manifest.scorers.items())),
            "dataset": digest,
        },
        concurrency=evaluation.max_concurrency // tasks,
        timeout=evaluation.timeout,
        scorer_timeout=evaluation.scorer_timeout,
        # Once, on the driver: it may be the path of a file.
        prices={k: vars(price) for k, price in read_prices(evaluation.prices).items()}
        if evaluation.prices is not None
        else None,
        retry_failures=evaluation.retry_failures,
        sys_path=tuple(path for path in sys.path if path),
    )
    if not exists:
        store.create()
    changed = exists and _check_unchanged(store, spec, allow_changes=evaluation.allow_changes)
    step_rows = options.step_rows or _ROWS_PER_STEP * evaluation.max_concurrency
    missing = _missing(data, store if exists else None, spec, evaluation.repeat, step_rows, count)
    journal = _sample_journal(evaluation_id, manifest)
    tracker = _Tracker(evaluation, journal, evaluation_id)
    tracker.open()
    _logger.warning("The results of evaluation %s are in %s.", evaluation_id, location)
    try:
        with _tagged(session, evaluation_id):
            _run_steps(store, store.write_missing(missing), spec, tasks)
    except KeyboardInterrupt:
        advice = f"Continue with the same call and SparkOptions(results={location!r})."
        raise KeyboardInterrupt(f"Finished steps are saved. {advice}") from None
    store.drop_missing()
    frame = store.latest()
    if changed:
        keys = _repeated(data.records, evaluation.repeat).select(*KEY)
        frame = frame.join(keys, KEY, "left_semi")
    rows = RowFrame(frame, tuple(manifest.scorers))
    summary = compute_in_task(summarize_rows, [rows], {})
    _save_sample(journal, frame, options)
    journal.update_manifest(complete=True)
    result = SparkEvaluationResult(journal, data.dataset, summary, rows, location)
    tracker.finish(result, data, count, digest)
    return result


def _identity(shipped: ShippedModel) -> Any:
    """Return the object that an import string names, whose code is part of the fingerprint."""
    return None if shipped.code is not None else shipped.load()


def _check_scorers(scorers: Sequence[Scorer]) -> None:
    for scorer in scorers:
        if isinstance(scorer, MlflowScorer) and scorer.is_session_level:
            msg = (
                f"The scorer {scorer.name!r} scores sessions, whose rows are in different tasks of "
                "engine='spark'. Use the local engine for it."
            )
            raise ConfigurationError(msg)


def _location(resume: str | Path | None, options: SparkOptions) -> tuple[str, str]:
    """Return the id of the evaluation and the location of its results table."""
    folder = home() / "spark"
    location = _absolute(options.results)
    if resume == "last":
        found = sorted(folder.glob("*/results"), reverse=True)
        if not found:
            msg = f"There is no evaluation on Spark in {folder}."
            raise NotFoundError(msg)
        location = str(found[0])
    elif resume is not None:
        own = folder / str(resume) / "results"
        location = str(own) if own.exists() else _absolute(str(resume))
    if location is None:
        name = f"{datetime.now(timezone.utc):%Y%m%d-%H%M%S}-{secrets.token_hex(4)}"
        create_private_folder(folder / name)
        location = str(folder / name / "results")
    is_local = Path(location).parent.parent == folder
    if is_local:
        return Path(location).parent.name, location
    # The same table is the same evaluation, on any machine.
    return f"spark-{hashlib.sha256(location.encode()).hexdigest()[:16]}", location


def _absolute(location: str | None) -> str | None:
    """Return the path of a folder as each process of this machine understands it."""
    if location is None or not re.search(r"[/\\]", location) or re.match(r"\w+:", location):
        return location
    return str(expand_user(location).absolute())


def _check_unchanged(store: RowStore, spec: TaskSpec, *, allow_changes: bool) -> bool:
    """Return whether the table contains rows of another model or dataset, if these are allowed.

    Raises:
        ConfigurationError: It contains such rows, and they are not allowed.
    """
    found = store.read().select("model", "dataset").distinct().collect()
    changes = [
        name
        for name in ("model", "dataset")
        if any(row[name] != spec.identity[name] for row in found)
    ]
    if changes and not allow_changes:
        msg = (
            f"{store.location} contains rows of another evaluation: the following differs: "
            f"{', '.join(changes)}. Choose another results table, or pass "
            "options=EvaluationOptions(allow_changes=True): answers to records that are still in "
            "the dataset are then kept, as the earlier model gave them."
        )
        raise ConfigurationError(msg)
    return bool(changes)


def _repeated(records: Any, repeat: int) -> Any:
    return records.selectExpr("*", f"explode(sequence(1, {repeat})) AS repetition")


def _missing(
    data: SparkDataset,
    store: RowStore | None,
    spec: TaskSpec,
    repeat: int,
    step_rows: int,
    count: int,
) -> Any:
    """Return the rows that are not in the results table, each with the number of its step.

    The columns are those of `KEY`, ``number``, ``record``, ``error``, ``step``, and ``answer`` and
    ``outputs`` of rows whose answer is kept.
    """
    # By a hash: after a crash, the step that was not committed consists of the same rows.
    steps = max(1, -(-count * repeat // step_rows))
    step = f"CAST(pmod(xxhash64({', '.join(KEY)}), {steps}) AS int) AS step"
    rows = _repeated(data.records, repeat).selectExpr("*", step)
    if store is None:
        return rows.selectExpr("*", *(f"CAST(NULL AS string) AS {name}" for name in _KEPT))
    known = store.latest().select(*KEY, *_KEPT, "failed", "scorer_failed", "scorers")
    is_done = f"scorers = '{spec.identity['scorers']}'"
    if spec.retry_failures:
        is_done = f"NOT failed AND NOT scorer_failed AND {is_done}"
    else:
        is_done = f"failed OR {is_done}"
    joined = rows.join(known, KEY, "left").where(f"answer IS NULL OR NOT ({is_done})")
    # The answer of a row that failed is not kept.
    kept = (f"CASE WHEN NOT failed THEN {name} END AS {name}" for name in _KEPT)
    return joined.selectExpr(*KEY, "number", "record", "error", "step", *kept)


def _run_steps(store: RowStore, missing: Any, spec: TaskSpec, tasks: int) -> None:
    steps = sorted(row["step"] for row in missing.select("step").distinct().collect())
    for position, step in enumerate(steps, 1):
        rows = missing.where(f"step = {step}").repartition(tasks, *KEY)
        started = time.monotonic()
        try:
            store.append(rows.mapInArrow(_task(spec, step), _ddl()))
        except Exception as error:  # of Spark, its connection, or a task
            msg = (
                f"Step {position} of {len(steps)} failed: {describe_failure(error)}. Finished "
                f"steps are in {store.location}: the same call with this results table runs what "
                "is missing."
            )
            raise DatabricksError(msg) from error
        seconds = time.monotonic() - started
        _logger.info("Step %d of %d is committed after %.1f s.", position, len(steps), seconds)
    if steps:
        _delete_scratch(missing, spec, tasks)


@contextlib.contextmanager
def _tagged(session: Any, tag: str) -> Iterator[None]:
    """Stop the tasks of the block if it is interrupted, else they would invoke the model on."""
    session.addTag(tag)
    try:
        yield
    except KeyboardInterrupt:
        # The driver must end with this exception, whatever the cluster answers.
        with contextlib.suppress(Exception):
            session.interruptTag(tag)
        raise
    finally:
        session.removeTag(tag)


def _task(
    spec: TaskSpec, step: int
) -> Callable[[Iterable[pyarrow.RecordBatch]], Iterator[pyarrow.RecordBatch]]:
    def task(batches: Iterable[pyarrow.RecordBatch]) -> Iterator[pyarrow.RecordBatch]:
        return run_task(spec, step, batches)

    return task


def _ddl() -> str:
    return ", ".join(f"{name} {type_}" for name, type_ in RESULT_SCHEMA.items())


def _delete_scratch(missing: Any, spec: TaskSpec, tasks: int) -> None:
    """Delete the journals of the tasks, on each machine that gets one of these tasks."""
    evaluation_id = spec.evaluation_id

    def task(batches: Iterable[pyarrow.RecordBatch]) -> Iterator[pyarrow.RecordBatch]:
        import shutil

        for _ in batches:
            pass
        shutil.rmtree(scratch_folder(evaluation_id), ignore_errors=True)
        yield from ()

    missing.select("step").limit(10 * tasks).repartition(tasks).mapInArrow(
        task, "step int"
    ).collect()


def _sample_journal(evaluation_id: str, manifest: EvaluationManifest) -> Journal:
    """Create the journal of the rows that the driver has for MLflow and the report."""
    folder = home() / "spark"
    create_private_folder(folder)
    path = folder / f"{evaluation_id}.sqlite"
    for file in folder.glob(f"{path.name}*"):
        file.unlink(missing_ok=True)
    schema.create(path, codec.encode_manifest(manifest))
    return Journal(path)


def _save_sample(journal: Journal, frame: Any, options: SparkOptions) -> None:
    """Save some failed rows, and a sample of the others, in the journal of the driver."""
    columns = tuple(journal.manifest.scorers)
    parts = [
        ("failed", options.max_failures, "number"),
        ("NOT failed", options.trace_sample, "record_key"),
    ]
    for condition, limit, order in parts:
        rows = frame.where(condition).orderBy(order, "repetition").limit(limit)
        for found in rows.toLocalIterator():
            row = decode_result(found.asDict(), columns)
            journal.save_answer(row.key, row)
            outputs = {
                column: codec.decode_scorer_output(stored["output"])
                for column, stored in _outputs(found["outputs"]).items()
            }
            journal.save_scores(row.key, outputs, last=True)


def _outputs(text: str) -> dict[str, Any]:
    import json

    stored: dict[str, Any] = json.loads(text)
    return stored


class _Tracker:
    """Writes an evaluation to its MLflow run; a store that fails does not stop the evaluation."""

    def __init__(self, evaluation: SparkEvaluation, journal: Journal, evaluation_id: str) -> None:
        self._destination = current_destination(
            run_name=evaluation.run_name, experiment_name=evaluation.experiment_name
        )
        self._journal = journal
        self._evaluation_id = evaluation_id
        self._run: MlflowRun | None = None

    def open(self) -> MlflowRun | None:
        """Return the run; None if it cannot be created now."""
        if self._run is None:
            try:
                self._run = MlflowRun.open(self._destination, self._evaluation_id)
            except TrackingError as error:
                _logger.warning("There is no MLflow run yet: %s", error)
                return None
            run = self._run
            self._journal.update_manifest(
                run_id=run.run_id, experiment_id=run.experiment_id, destination=self._destination
            )
            _logger.warning("Evaluation %s is MLflow run %s.", self._evaluation_id, run.run_id)
        return self._run

    def finish(
        self, result: SparkEvaluationResult, data: SparkDataset, count: int, digest: str
    ) -> None:
        """Write the dataset, the sample, the metrics and the location of the table."""
        from langchain_dbx_eval.datasets.mlflow_input import EvaluationInput

        run = self.open()
        if run is None:
            return
        dataset = data.dataset
        try:
            run.set_tag(_TABLE_TAG, result.results_table)
            run.log_dataset(
                EvaluationInput(dataset._opened, dataset.name or "records", digest, count)
            )
            keys = self._journal.row_keys()
            for start in range(0, len(keys), _BATCH):
                rows = list(self._journal.read_rows(keys[start : start + _BATCH]))
                trace_ids = run.write_rows(rows, maybe_written=True)
                written = {row.key: id_ for row, id_ in zip(rows, trace_ids, strict=True)}
                self._journal.mark_written(written)
            run.finish(result.metrics, result.table_pages(), summary=result.summary)
            self._journal.update_manifest(logged=True)
        except (TrackingError, DatabricksError) as error:
            _logger.warning(
                "Not all of the evaluation is in MLflow: %s. Run the same call with the results "
                "table %s again.",
                describe_error(error),
                result.results_table,
            )
