"""What an earlier evaluation has answered, at the places that its questions have now.

Records may come in another order each time (a warehouse promises none), and with `allow_changes`
some are new, gone or corrected. What was paid for is found by what was asked, not by where it was.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator

from langchain_dbx_eval.datasets import EvalDataset, EvalRecord, record_key
from langchain_dbx_eval.evaluation.journal.codec import dump
from langchain_dbx_eval.evaluation.journal.rows import RowKey
from langchain_dbx_eval.evaluation.journal.store import Journal

__all__ = ["rearrange", "update_records"]


def rearrange(journal: Journal, dataset: EvalDataset, repeat: int) -> None:
    """Move each answer to a place where its question is asked now; forget what is asked no more.

    Args:
        journal: An earlier evaluation's.
        dataset: What is asked now.
        repeat: How often each record is asked now.
    """
    left = {place: key for place, (key, _) in journal.answered().items()}
    missing: dict[RowKey, str] = {}
    for place, record in _asked(dataset, repeat):
        key = record_key(record.request)
        if left.get(place) == key:
            del left[place]
        else:
            missing[place] = key
    free: defaultdict[str, deque[RowKey]] = defaultdict(deque)
    for place in sorted(left):
        free[left[place]].append(place)
    moved = {free[key].popleft(): place for place, key in missing.items() if free[key]}
    journal.rearrange(moved, sorted(left.keys() - moved.keys()))


def update_records(journal: Journal, dataset: EvalDataset, repeat: int) -> None:
    """Give each answer its record as it is now; one that was corrected is scored again.

    Args:
        journal: An earlier evaluation's, rearranged.
        dataset: What is asked now.
        repeat: How often each record is asked now.
    """
    kept = journal.answered()
    for place, record in _asked(dataset, repeat):
        if place in kept and dump(journal.row(place).record) != dump(record):
            journal.replace_record(place, record)


def _asked(dataset: EvalDataset, repeat: int) -> Iterator[tuple[RowKey, EvalRecord]]:
    for number, record in enumerate(dataset):
        for repetition in range(1, repeat + 1):
            yield RowKey(number, repetition), record
