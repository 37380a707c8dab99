"""From an answer to a scored row. Each result is saved before the next step starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from langchain_dbx_eval.evaluation.journal.codec import round_trip
from langchain_dbx_eval.evaluation.journal.rows import Answer, RowKey
from langchain_dbx_eval.evaluation.journal.store import Journal
from langchain_dbx_eval.scoring import Scorer, ScoringContext, ascore
from langchain_dbx_eval.scoring.score_row import ScorerOutput

__all__ = ["process_row"]


async def process_row(
    journal: Journal, scorers: Sequence[Scorer], key: RowKey, answer: Answer | None
) -> None:
    """Save the answer of a row, and score it.

    Args:
        journal: Receives the answer and each score.
        scorers: The scorers.
        key: The key of the row.
        answer: The answer; None: the journal contains it, and the outputs of some scorers.

    Raises:
        JournalError: The journal cannot be written to.
    """
    known: Mapping[str, ScorerOutput] = {}
    if answer is None:
        answer, known = journal.row(key), journal.scorer_outputs([key]).get(key, {})
    else:
        response = round_trip(answer.outcome.response)
        answer = replace(answer, outcome=replace(answer.outcome, response=response))
        journal.save_answer(key, answer)
    missing = {scorer.column for scorer in scorers} - known.keys()

    def save(outputs: Mapping[str, ScorerOutput]) -> None:
        missing.difference_update(outputs)
        # The last outputs and the completion of the row are one commit.
        journal.save_scores(key, outputs, last=not missing)

    if answer.outcome.error is not None or not missing:
        journal.save_scores(key, {}, last=True)
        return
    await ascore(ScoringContext(answer.record, answer.outcome), scorers, known=known, keep=save)
