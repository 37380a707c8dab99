"""From an answer to a scored row. Each result is saved before the next step starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from langchain_dbx_eval.evaluation.journal.codec import round_trip
from langchain_dbx_eval.evaluation.journal.rows import Answer, RowKey
from langchain_dbx_eval.evaluation.journal.store import Journal
from langchain_dbx_eval.scoring import Scorer, ScoringContext, ascore
from langchain_dbx_eval.scoring.score_row import ScorerOutput

__all__ = ["process_answer", "score_answer"]


async def process_answer(
    journal: Journal, scorers: Sequence[Scorer], key: RowKey, answer: Answer
) -> None:
    """Save an answer, and score it.

    Raises:
        JournalError: The journal cannot be written to.
    """
    response = round_trip(answer.outcome.response)
    answer = replace(answer, outcome=replace(answer.outcome, response=response))
    journal.save_answer(key, answer)
    await score_answer(journal, scorers, key, answer, known={})


async def score_answer(
    journal: Journal,
    scorers: Sequence[Scorer],
    key: RowKey,
    answer: Answer,
    *,
    known: Mapping[str, ScorerOutput],
) -> None:
    """Score a saved answer by the scorers whose output is not known yet."""
    missing = {scorer.column for scorer in scorers} - known.keys()

    def save(outputs: Mapping[str, ScorerOutput]) -> None:
        missing.difference_update(outputs)
        # The last outputs and the completion of the row are one commit.
        journal.save_scores(key, outputs, last=not missing)

    if answer.outcome.error is not None or not missing:
        journal.save_scores(key, {}, last=True)
        return
    await ascore(ScoringContext(answer.record, answer.outcome), scorers, known=known, keep=save)
