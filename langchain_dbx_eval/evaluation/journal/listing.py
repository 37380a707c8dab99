"""The evaluations on this machine, with their states."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, TypeAlias

from langchain_dbx_eval._internal.log import get_logger
from langchain_dbx_eval._internal.paths import journals_root
from langchain_dbx_eval.errors import JournalError, NotFoundError
from langchain_dbx_eval.evaluation.journal.manifest import EvaluationManifest
from langchain_dbx_eval.evaluation.journal.store import FAILED, SCORED, Journal

__all__ = ["EvaluationInfo", "EvaluationState", "find_last", "list_evaluations"]

_logger = get_logger(__name__)

EvaluationState: TypeAlias = Literal["running", "interrupted", "complete", "not synced"]
"""How far an evaluation got: a living process runs it or writes it to MLflow; its process ended
before all rows were finished; all of it is in MLflow; it is complete, but not all of it is in
MLflow."""


@dataclass(frozen=True, kw_only=True)
class EvaluationInfo:
    """An evaluation on this machine.

    Attributes:
        evaluation_id: The id of the evaluation.
        state: How far it got.
        created_at: When it was started.
        dataset: The name of the dataset, or where its records came from; None for a callback
            without a dataset.
        finished: Number of rows that are answered and scored, failed ones included.
        failed: Number of rows whose invocation failed.
        total: Number of rows of the evaluation; None for a callback, which has no end.
        run_id: The id of the MLflow run; None until MLflow was reached.
        experiment_id: The id of the MLflow experiment of the run; None until MLflow was reached.
        journal: The path of the journal.
    """

    evaluation_id: str
    state: EvaluationState
    created_at: datetime
    dataset: str | None
    finished: int
    failed: int
    total: int | None
    run_id: str | None
    experiment_id: str | None
    journal: Path


def list_evaluations(limit: int | None = None) -> list[EvaluationInfo]:
    """List the evaluations on this machine, the newest first, those of callbacks included.

    An interrupted evaluation can be continued with ``evaluate(…, resume=info.evaluation_id)``, one
    that is not synced with ``langchain-dbx-eval sync``. Files that cannot be read, such as journals
    of a later release, are left out with a warning.

    Args:
        limit: The largest number of evaluations; None: all.
    """
    newest = itertools.islice(_newest_first(), limit)
    return [_describe(journal, manifest) for journal, manifest in newest]


def find_last(manifest: EvaluationManifest, *, allow_complete: bool = False) -> Journal:
    """Return the newest evaluation of the same dataset and model.

    Args:
        manifest: What is to be evaluated.
        allow_complete: Whether it may be complete.

    Raises:
        NotFoundError: There is none.
        JournalError: It is complete.
    """
    others = []
    for journal, earlier in _newest_first():
        if earlier.from_callback:
            continue
        changes = {"model", "dataset"} & set(manifest.changes_since(earlier))
        if changes:
            others.append(f"{journal.evaluation_id} has another {' and '.join(sorted(changes))}")
            continue
        if earlier.complete and not allow_complete:
            msg = (
                f"resume='last': the last evaluation of this dataset and model, "
                f"{journal.evaluation_id}, is complete. Leave resume= out to start a new one, or "
                "set retry_failures=True to run its failed rows again."
            )
            raise JournalError(msg)
        return journal
    msg = (
        f"resume='last': there is no evaluation of this dataset and model in {journals_root()}"
        f"{f' ({others[0]})' if others else ''}. Start one without resume=, or pass the id of an "
        "evaluation, which `langchain-dbx-eval list` shows."
    )
    raise NotFoundError(msg)


def _newest_first() -> Iterator[tuple[Journal, EvaluationManifest]]:
    found = []
    for path in journals_root().glob("*.sqlite"):
        try:
            journal = Journal(path)
            found.append((journal.manifest.created_at, path))
        except JournalError as error:
            _logger.warning("%s", error)
    # One journal is open at a time.
    for _, path in sorted(found, reverse=True):
        journal = Journal(path)
        yield journal, journal.manifest


def _describe(journal: Journal, manifest: EvaluationManifest) -> EvaluationInfo:
    dataset = manifest.dataset or {}
    total = None
    if not manifest.from_callback:
        total = (dataset["records"] + dataset.get("invalid_rows", 0)) * manifest.repeat
    return EvaluationInfo(
        evaluation_id=journal.evaluation_id,
        state=_state(journal, manifest),
        created_at=datetime.fromisoformat(manifest.created_at),
        dataset=dataset.get("name") or dataset.get("source"),
        finished=journal.count(SCORED),
        failed=journal.count(FAILED),
        total=total,
        run_id=manifest.run_id,
        experiment_id=manifest.experiment_id,
        journal=journal.path,
    )


def _state(journal: Journal, manifest: EvaluationManifest) -> EvaluationState:
    if journal.is_locked:
        return "running"
    if not manifest.complete:
        return "interrupted"
    return "complete" if manifest.logged else "not synced"
