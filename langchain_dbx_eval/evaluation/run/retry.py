"""Retrying what failed in an earlier evaluation."""

from __future__ import annotations

import itertools
from collections import Counter

from langchain_dbx_eval.evaluation.journal.rows import Row, RowKey
from langchain_dbx_eval.evaluation.journal.store import ANSWERED, FAILED, Journal
from langchain_dbx_eval.evaluation.tracking.traces import trace_id_of
from langchain_dbx_eval.scoring import Assessment
from langchain_dbx_eval.scoring.contract import OVERALL_ASSESSMENT

__all__ = ["reopen_failures"]

_PAGE = 200


def reopen_failures(journal: Journal) -> int:
    """Delete failed rows, and the outputs of scorers with an error, so that these run again.

    What MLflow has of them is deleted there when the evaluation is next written to it: the traces
    of failed rows, and on the traces of the other rows the feedback of these scorers and the
    overall assessment.

    Args:
        journal: The journal, adapted to the present evaluation.

    Returns:
        The number of rows that run again.
    """
    rows_of_trace = Counter(journal.trace_ids())
    replaced: dict[str, list[str] | None] = {}
    failed = []
    for row in journal.rows(FAILED):
        failed.append(row.key)
        for trace_id in _possible_traces(row, journal) - {row.record.trace_id}:
            # Calls inside a span of the user share the trace of that span.
            if rows_of_trace[trace_id] <= 1:
                replaced[trace_id] = None
    errors = _scorer_errors(journal)
    for row in journal.read_rows(errors):
        names = {name for of_scorer in errors[row.key].values() for name in of_scorer}
        names |= {a.name for a in row.assessments if a.column == OVERALL_ASSESSMENT}
        replaced |= dict.fromkeys(_possible_traces(row, journal), sorted(names))
    if failed or errors:
        journal.reopen(failed, errors, replaced)
    return len(failed) + len(errors)


def _scorer_errors(journal: Journal) -> dict[RowKey, dict[str, list[str]]]:
    """Return the names of the assessments of each scorer with an error, by row and by column."""
    columns = journal.manifest.scorers.keys()
    errors: dict[RowKey, dict[str, list[str]]] = {}
    keys = iter(journal.row_keys(ANSWERED))
    while page := list(itertools.islice(keys, _PAGE)):
        for key, outputs in journal.scorer_outputs(page).items():
            for column in outputs.keys() & columns:
                assessments = [item for item in outputs[column] if isinstance(item, Assessment)]
                if any(assessment.error is not None for assessment in assessments):
                    errors.setdefault(key, {})[column] = [a.name for a in assessments]
    return errors


def _possible_traces(row: Row, journal: Journal) -> set[str]:
    """Return the trace of a row in MLflow; those that it may have if it may have been written."""
    if row.trace_id is not None:
        return {row.trace_id}
    traced = row.run.trace_id if row.run else row.record.trace_id
    return {trace_id_of(row, journal.evaluation_id), *([traced] if traced else [])}
