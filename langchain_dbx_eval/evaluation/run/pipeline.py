"""From a chain's answer to a scored row: journal, scorers, journal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from langchain_dbx_eval.datasets import record_key
from langchain_dbx_eval.evaluation.journal.codec import storable
from langchain_dbx_eval.evaluation.journal.rows import Answer, RowKey
from langchain_dbx_eval.evaluation.journal.store import Journal
from langchain_dbx_eval.scoring import Scorer, ScoringContext, ascore
from langchain_dbx_eval.scoring.score_row import ScorerOutput

__all__ = ["Pipeline"]


class Pipeline:
    """Takes answers, has them scored, and keeps each step in the journal before the next.

    Args:
        journal: Where everything is kept.
        scorers: Who scores.
    """

    def __init__(self, journal: Journal, scorers: Sequence[Scorer]) -> None:
        self._journal = journal
        self._scorers = scorers

    async def take(self, place: RowKey, answer: Answer) -> None:
        """Keep an answer, and score it.

        Raises:
            JournalError: The journal cannot be written to.
        """
        # As it is read back: whether a row is scored now or after a crash, scorers see the same.
        response = storable(answer.outcome.response)
        answer = replace(answer, outcome=replace(answer.outcome, response=response))
        self._journal.save_answer(place, record_key(answer.record.request), answer)
        await self._score(place, answer, {})

    async def complete(self, place: RowKey) -> None:
        """Score a row whose answer is in the journal: by those who have not scored it yet."""
        await self._score(place, self._journal.row(place), self._journal.said(place))

    async def _score(
        self, place: RowKey, answer: Answer, known: Mapping[str, ScorerOutput]
    ) -> None:
        missing = {scorer.column for scorer in self._scorers} - known.keys()

        def keep(said: Mapping[str, ScorerOutput]) -> None:
            missing.difference_update(said)
            # With the last of them the row is done: one commit says both.
            self._journal.save_scores(place, said, last=not missing)

        if answer.outcome.error is not None or not missing:
            self._journal.mark_scored(place)
            return
        context = ScoringContext(answer.record, answer.outcome)
        await ascore(context, self._scorers, known=known, keep=keep)
