"""From an answer to a scored row. Each result is saved before the next step starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache

from langchain_dbx_eval._internal.log import describe_error
from langchain_dbx_eval.errors import JournalError
from langchain_dbx_eval.evaluation.journal.codec import round_trip
from langchain_dbx_eval.evaluation.journal.rows import Answer, Row, RowKey
from langchain_dbx_eval.evaluation.journal.store import Journal
from langchain_dbx_eval.evaluation.tracking.traces import trace_of_row
from langchain_dbx_eval.scoring import Outcome, RowScores, Scorer, ScoringContext, ascore
from langchain_dbx_eval.scoring.mlflow.scorers import MlflowScorer
from langchain_dbx_eval.scoring.mlflow.traces import session_of, trace_of
from langchain_dbx_eval.scoring.score_row import ScorerOutput, failure

__all__ = ["process_row", "score_sessions"]


async def process_row(
    journal: Journal, scorers: Sequence[Scorer], key: RowKey, answer: Answer | None
) -> int:
    """Save the answer of a row, and score it.

    Args:
        journal: Receives the answer and each score.
        scorers: The scorers.
        key: The key of the row.
        answer: The answer; None: the journal contains it, and the outputs of some scorers.

    Returns:
        The number of assessments with an error.

    Raises:
        JournalError: The journal cannot be written to.
    """
    known: Mapping[str, ScorerOutput] = {}
    if answer is None:
        answer, known = journal.row(key), journal.scorer_outputs([key]).get(key, {})
    else:
        answer = _save_answer(journal, key, answer)
    missing = {scorer.column for scorer in scorers} - known.keys()

    def save(outputs: Mapping[str, ScorerOutput]) -> None:
        missing.difference_update(outputs)
        # The last outputs and the completion of the row are one commit.
        try:
            journal.save_scores(key, outputs, last=not missing)
        except JournalError:
            raise
        except Exception as error:  # something in the output that cannot be stored
            failed = {s.column: [failure(s, error)] for s in scorers if s.column in outputs}
            journal.save_scores(key, failed, last=not missing)

    if answer.outcome.error is not None or not missing:
        journal.save_scores(key, {}, last=True)
        return 0
    scores = await ascore(_context(journal, key, answer), scorers, known=known, keep=save)
    return sum(a.error is not None for a in scores.assessments)


def _save_answer(journal: Journal, key: RowKey, answer: Answer) -> Answer:
    """Save an answer, and return it as the journal returns it."""
    try:
        response = round_trip(answer.outcome.response)
        answer = replace(answer, outcome=replace(answer.outcome, response=response))
        journal.save_answer(key, answer)
    except JournalError:
        raise
    except Exception as error:  # something in the answer that cannot be stored
        reason = f"{describe_error(error)} (the answer cannot be stored)"
        answer = Answer(record=answer.record, outcome=Outcome(error=reason), matched=answer.matched)
        journal.save_answer(key, answer)
    return answer


def score_sessions(journal: Journal, scorers: Sequence[Scorer], max_concurrency: int = 32) -> None:
    """Run the session-level scorers on each session, when all rows are scored.

    The assessments of a session are saved with its first row, as in ``mlflow.genai.evaluate``. A
    session is the rows with one session id, in each repetition.

    Args:
        journal: Contains the rows, and receives the assessments.
        scorers: All scorers of the run.
        max_concurrency: The largest number of sessions that are scored at once.

    Raises:
        JournalError: The journal cannot be written to.
    """
    of_sessions = [s for s in scorers if isinstance(s, MlflowScorer) and s.is_session_level]
    sessions: dict[tuple[str, int], list[RowKey]] = {}
    for row in journal.rows() if of_sessions else ():
        if (session := session_of(_context(journal, row.key, row))) is not None:
            sessions.setdefault((session, row.repetition), []).append(row.key)

    def score(session: str, keys: list[RowKey]) -> None:
        known = journal.scorer_outputs(keys[:1]).get(keys[0], {})
        missing = [scorer for scorer in of_sessions if not known.get(scorer.column)]
        if not missing:
            return
        turns = [_context(journal, row.key, row) for row in journal.read_rows(keys)]
        turns.sort(key=lambda turn: trace_of(turn).info.request_time)
        outputs = {scorer.column: scorer.score_session(session, turns) for scorer in missing}
        journal.save_scores(keys[0], outputs)
        # Its trace may be in MLflow without these assessments.
        journal.mark_writing(keys[:1])

    if sessions:
        with ThreadPoolExecutor(max_concurrency) as pool:
            list(pool.map(score, [session for session, _ in sessions], sessions.values()))


def _context(journal: Journal, key: RowKey, answer: Answer) -> ScoringContext:
    if answer.run is None:
        return ScoringContext(answer.record, answer.outcome)
    fields = {name: getattr(answer, name) for name in ("record", "outcome", "run", "matched")}
    row = Row(key=key, scores=RowScores(), **fields)
    make_trace = cache(lambda: trace_of_row(row, journal.evaluation_id))
    return ScoringContext(answer.record, answer.outcome, make_trace)
