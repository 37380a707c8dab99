"""One task: the rows of a partition, run by the scheduler of the local engine.

The journal of the local engine is a file in the temporary folder of the machine. Its name derives
from the rows, so that a task that is retried on this machine, or a second run of the same step,
finds what is finished: only rows in flight are repeated. On another machine the whole part of the
step is.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_core.runnables import Runnable

from langchain_dbx_eval._internal import event_loop
from langchain_dbx_eval._internal.paths import create_private_folder
from langchain_dbx_eval.errors import JournalError
from langchain_dbx_eval.evaluation.journal import codec, schema
from langchain_dbx_eval.evaluation.journal.manifest import EvaluationManifest
from langchain_dbx_eval.evaluation.journal.rows import ExpectedRow, Row, RowKey
from langchain_dbx_eval.evaluation.journal.store import Journal
from langchain_dbx_eval.evaluation.run.budget import Budget
from langchain_dbx_eval.evaluation.run.invoker import ModelInvoker, recorded_answer
from langchain_dbx_eval.evaluation.run.model_input import ToInput
from langchain_dbx_eval.evaluation.run.scheduler import Invoke, RowScheduler
from langchain_dbx_eval.evaluation.spark.pacing import PacedLimiter
from langchain_dbx_eval.evaluation.spark.shipping import ShippedModel, decode, load_scorers
from langchain_dbx_eval.evaluation.spark.storage import KEY, RESULT_SCHEMA
from langchain_dbx_eval.scoring import Assessment, RowScores, Scorer, select_scorers
from langchain_dbx_eval.scoring.answer_text import answer_text, request_text
from langchain_dbx_eval.scoring.score_row import ScorerOutput

if TYPE_CHECKING:
    import pyarrow

__all__ = ["TaskSpec", "result_row", "run_task", "scratch_folder"]

_BATCH = 200
_LOCK_TIMEOUT_S = 30.0


@dataclass(frozen=True, kw_only=True)
class TaskSpec:
    """What each task of an evaluation is sent. It contains names and settings, and no secret.

    Attributes:
        evaluation_id: The evaluation.
        model: The model; None: the rows contain the answers.
        input_fn: The `input_fn`, see `shipping.encode`; None without one.
        scorers: The arguments of `select_scorers`, see `ship_scorers`.
        fingerprints: The fingerprint of each scorer by its column.
        identity: The columns ``version``, ``model``, ``scorers`` and ``dataset`` of the results.
        concurrency: The largest number of rows in flight in one task.
        timeout: Seconds for one row; None: no timeout.
        scorer_timeout: Seconds for each scorer of a row; None: no timeout.
        prices: See `evaluate`.
        retry_failures: Whether scorers with an error run again.
        sys_path: The import path of the driver, for machines that share its files.
    """

    evaluation_id: str
    model: ShippedModel | None
    input_fn: str | None
    scorers: str
    fingerprints: Mapping[str, str]
    identity: Mapping[str, Any]
    concurrency: int
    timeout: float | None
    scorer_timeout: float | None
    prices: Any
    retry_failures: bool
    sys_path: tuple[str, ...]


@dataclass
class _Worker:
    """What the tasks of one process share, loaded once.

    Attributes:
        model: The model and its input function; None without a model.
        input_fn: The user's input function.
        limiter: The limiter of all tasks of the process, which keeps what it has learned about the
            endpoint from one step to the next.
        idle: Scorers that no task uses now.
    """

    model: tuple[Runnable[Any, Any], ToInput] | None
    input_fn: Any
    limiter: PacedLimiter
    idle: list[Sequence[Scorer]] = field(default_factory=list)


_workers: dict[tuple[str, int], _Worker] = {}
_worker_locks: defaultdict[tuple[str, int], threading.Lock] = defaultdict(threading.Lock)


def run_task(
    spec: TaskSpec, step: int, batches: Iterable[pyarrow.RecordBatch]
) -> Iterator[pyarrow.RecordBatch]:
    """Run the rows of a partition.

    Args:
        spec: The evaluation.
        step: The number of the step.
        batches: The rows: see `run.py`, ``_missing``.

    Yields:
        Rows of the results table.

    Raises:
        ConfigurationError: The model or a scorer cannot be loaded on this machine.
        JournalError: The journal in the temporary folder cannot be written to.
    """
    sys.path += [path for path in spec.sys_path if path not in sys.path]
    rows = {
        RowKey(row["number"], row["repetition"]): row
        for batch in batches
        for row in batch.to_pylist()
    }
    if not rows:
        return
    with _leased(spec) as (worker, scorers), _scratch(spec, step, rows) as journal:
        _restore(journal, rows, spec)
        invoke: Invoke = recorded_answer
        if worker.model is not None:
            runnable, to_input = worker.model
            to_input = worker.input_fn or to_input
            invoke = ModelInvoker(runnable, to_input, worker.limiter, spec.timeout, lambda: None)
        scheduler = RowScheduler(
            journal,
            Budget(prices=spec.prices).with_cost(invoke),
            scorers,
            worker.limiter,
            scorer_timeout=spec.scorer_timeout,
            # Another task may be able to answer: each failure is that of its row.
            first_row="as others",
        )
        expected = (
            ExpectedRow(key, codec.decode_record(row["record"]), row["error"])
            for key, row in sorted(rows.items())
        )
        event_loop.run(scheduler.run(expected, lambda *_: None))
        keys = iter(journal.row_keys())
        while page := list(islice(keys, _BATCH)):
            outputs = journal.scorer_outputs(page)
            yield _batch(
                result_row(row, outputs.get(row.key, {}), spec, rows[row.key])
                for row in journal.read_rows(page)
            )


def result_row(
    row: Row, outputs: Mapping[str, ScorerOutput], spec: TaskSpec, source: Mapping[str, Any]
) -> dict[str, Any]:
    """Return a row of the results table.

    Args:
        row: The row.
        outputs: The outputs of its scorers by column.
        spec: The evaluation.
        source: The row of the table of missing rows.
    """
    stored = {
        column: {
            "fingerprint": spec.fingerprints.get(column, ""),
            "output": codec.encode_scorer_output(output),
        }
        for column, output in outputs.items()
    }
    errors = [a for output in outputs.values() for a in output if getattr(a, "error", None)]
    return {
        **{name: source[name] for name in (*KEY, "number")},
        **spec.identity,
        "request_id": row.record.request_id,
        "request": request_text(row.record.request),
        "response": answer_text(row.outcome.response),
        "error": row.outcome.error,
        "failed": row.outcome.error is not None,
        "scorer_failed": bool(errors),
        "latency_seconds": row.outcome.latency_seconds,
        "total_tokens": row.outcome.total_tokens,
        "cost_usd": row.outcome.cost_usd,
        "scores": [
            (assessment.value_column, assessment.number)
            for assessment in row.assessments
            if assessment.number is not None and math.isfinite(assessment.number)
        ],
        "answer": codec.encode_answer(row),
        "outputs": json.dumps(stored),
    }


def scratch_folder(evaluation_id: str) -> Path:
    """Return the folder of the journals of an evaluation's tasks on this machine."""
    return Path(tempfile.gettempdir(), f"dbx-eval-spark-{os.getuid()}", evaluation_id)


def _batch(rows: Iterable[dict[str, Any]]) -> pyarrow.RecordBatch:
    import pyarrow

    types = {
        "string": pyarrow.string(),
        "int": pyarrow.int32(),
        "bigint": pyarrow.int64(),
        "double": pyarrow.float64(),
        "boolean": pyarrow.bool_(),
        "map<string,double>": pyarrow.map_(pyarrow.string(), pyarrow.float64()),
    }
    columns = [(name, types[type_]) for name, type_ in RESULT_SCHEMA.items()]
    return pyarrow.RecordBatch.from_pylist(list(rows), schema=pyarrow.schema(columns))


@contextlib.contextmanager
def _leased(spec: TaskSpec) -> Iterator[tuple[_Worker, Sequence[Scorer]]]:
    """Return what the process has loaded, and scorers for one task."""
    parts = (spec.model and (spec.model.reference, spec.model.code), spec.input_fn, spec.scorers)
    digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
    # A forked process has no event loop, to which clients of its parent may be bound.
    key = f"{digest}{spec.evaluation_id}", os.getpid()
    create_private_folder(scratch_folder(spec.evaluation_id))
    with _worker_locks[key]:
        if key not in _workers:
            _workers[key] = _Worker(
                model=None if spec.model is None else spec.model.resolve(),
                input_fn=None if spec.input_fn is None else decode(spec.input_fn),
                limiter=PacedLimiter(0, scratch_folder(spec.evaluation_id) / "pace"),
            )
        worker = _workers[key]
        worker.limiter.resize(spec.concurrency)
        scorers = worker.idle.pop() if worker.idle else None
    try:
        if scorers is None:
            arguments = {**load_scorers(spec.scorers), "max_concurrency": spec.concurrency}
            scorers = select_scorers(**arguments)
        yield worker, scorers
    finally:
        with _worker_locks[key]:
            worker.limiter.resize(-spec.concurrency)
            if scorers is not None:
                worker.idle.append(scorers)


@contextlib.contextmanager
def _scratch(spec: TaskSpec, step: int, rows: Mapping[RowKey, Any]) -> Iterator[Journal]:
    """Open the journal of these rows; it stays until a task of another step runs."""
    folder = scratch_folder(spec.evaluation_id)
    keys = [[row[name] for name in KEY] for _, row in sorted(rows.items())]
    identity = {**spec.identity, "version": None, "retry": spec.retry_failures}
    text = json.dumps([keys, identity])
    name = f"{step}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    for file in folder.glob("*.sqlite*"):
        # Of steps that are committed: they run one after the other.
        if not file.name.startswith(f"{step}-"):
            file.unlink(missing_ok=True)
    path = folder / f"{name}.sqlite"
    with contextlib.ExitStack() as stack:
        if not _lock(path, stack):
            # The other attempt at this task hangs. What it has finished is repeated.
            path = folder / f"{name}-{os.getpid()}-{time.monotonic_ns()}.sqlite"
            stack.enter_context(schema.locked(path))
        if not path.exists():
            schema.create(path, codec.encode_manifest(EvaluationManifest.describe(None, ())))
        columns = {column: spec.fingerprints[column] for column in spec.fingerprints}
        journal = Journal(path)
        journal.update_manifest(scorers=columns)
        yield journal


def _lock(path: Path, stack: contextlib.ExitStack) -> bool:
    """Lock a journal; another attempt of the same task, whose driver is gone, may hold it."""
    deadline = time.monotonic() + _LOCK_TIMEOUT_S
    while time.monotonic() < deadline:
        with contextlib.suppress(JournalError):
            stack.enter_context(schema.locked(path))
            return True
    return False


def _restore(journal: Journal, rows: Mapping[RowKey, Mapping[str, Any]], spec: TaskSpec) -> None:
    """Save the answers and scores of the results table in the journal, so that they are kept."""
    answered = journal.answered()
    for key, row in rows.items():
        if row["answer"] is None or key in answered:
            continue
        journal.save_answer(key, codec.decode_row(key, row["answer"], RowScores(), None))
        kept = {}
        for column, stored in json.loads(row["outputs"]).items():
            output = codec.decode_scorer_output(stored["output"])
            errors = [item for item in output if isinstance(item, Assessment) and item.error]
            is_same = spec.fingerprints.get(column) == stored["fingerprint"]
            if is_same and not (spec.retry_failures and errors):
                kept[column] = output
        journal.save_scores(key, kept)
