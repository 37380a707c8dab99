"""Adapts the journal of an earlier evaluation to a changed dataset, model or set of scorers.

Records may come in another order each time (a warehouse guarantees none), and with `allow_changes`
some are new, removed or corrected. Saved answers are found by their request, not by their position.
"""

from __future__ import annotations

from collections import defaultdict, deque

from langchain_dbx_eval.datasets import EvalDataset, record_key
from langchain_dbx_eval.errors import JournalError
from langchain_dbx_eval.evaluation.journal.codec import encode_record
from langchain_dbx_eval.evaluation.journal.manifest import EvaluationManifest
from langchain_dbx_eval.evaluation.journal.rows import RowKey, expected_rows
from langchain_dbx_eval.evaluation.journal.store import Journal

__all__ = ["check_resumable", "reconcile"]


def check_resumable(journal: Journal, manifest: EvaluationManifest, *, allow_changes: bool) -> None:
    """Check that an earlier evaluation can be resumed.

    Args:
        journal: The journal of the earlier evaluation.
        manifest: The manifest of the present evaluation.
        allow_changes: Whether dataset, model, repeat and scorers may differ.

    Raises:
        JournalError: It cannot be resumed.
    """
    earlier = journal.manifest
    if earlier.from_callback:
        msg = (
            f"Evaluation {journal.evaluation_id} cannot be resumed: a callback captured "
            "its rows, and the calls cannot be repeated. Read it with EvaluationResult.load, or "
            "write it to MLflow with langchain-dbx-eval sync."
        )
        raise JournalError(msg)
    if (changes := manifest.changes_since(earlier)) and not allow_changes:
        msg = (
            f"Evaluation {journal.evaluation_id} cannot be resumed: the following changed since it "
            f"started: {', '.join(changes)}. Start a new evaluation (without resume=), or set "
            "allow_changes=True: answers to requests that are still in the dataset are then kept, "
            "as the earlier model gave them."
        )
        raise JournalError(msg)


def reconcile(journal: Journal, manifest: EvaluationManifest, dataset: EvalDataset) -> None:
    """Adapt a journal to the present evaluation.

    Answers to requests of the dataset are kept under the keys that these have now, others are
    deleted. A scorer that changed scores all rows again; a row whose record changed is scored again
    by all scorers.

    Args:
        journal: The journal of an earlier evaluation.
        manifest: The manifest of the present evaluation.
        dataset: Its dataset.
    """
    earlier = journal.manifest
    changes = manifest.changes_since(earlier)
    if "scorers" in changes:
        now, before = manifest.scorers, earlier.scorers
        journal.delete_scores([c for c in before.keys() & now.keys() if before[c] != now[c]])
    _reassign(journal, dataset, manifest.repeat)
    if "dataset" in changes:
        _update_records(journal, dataset, manifest.repeat)
    journal.update_manifest(
        dataset=manifest.dataset,
        model=manifest.model,
        repeat=manifest.repeat,
        scorers=manifest.scorers,
        complete=earlier.complete and not changes,
        logged=earlier.logged and not changes,
    )


def _reassign(journal: Journal, dataset: EvalDataset, repeat: int) -> None:
    unused = {key: input_key for key, (input_key, _) in journal.answered().items()}
    unanswered: dict[RowKey, str] = {}
    for key, record, _ in expected_rows(dataset, repeat):
        input_key = record_key(record.request)
        if unused.get(key) == input_key:
            del unused[key]
        else:
            unanswered[key] = input_key
    available: defaultdict[str, deque[RowKey]] = defaultdict(deque)
    for key in sorted(unused):
        available[unused[key]].append(key)
    moved = {
        available[input_key].popleft(): key
        for key, input_key in unanswered.items()
        if available[input_key]
    }
    journal.reassign(moved, sorted(unused.keys() - moved.keys()))


def _update_records(journal: Journal, dataset: EvalDataset, repeat: int) -> None:
    rows = journal.rows()
    row = next(rows, None)
    for key, record, _ in expected_rows(dataset, repeat):
        if row is not None and row.key == key:
            if encode_record(row.record) != encode_record(record):
                journal.replace_record(row, record)
            row = next(rows, None)
