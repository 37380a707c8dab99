"""What an evaluation is of: dataset, model, scorers; and whether they are still the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from langchain_dbx_eval.datasets import EvalDataset
from langchain_dbx_eval.errors import JournalError
from langchain_dbx_eval.evaluation.journal.fingerprint import fingerprint
from langchain_dbx_eval.evaluation.journal.reconcile import rearrange, update_records
from langchain_dbx_eval.evaluation.journal.store import Journal
from langchain_dbx_eval.scoring import Scorer

__all__ = ["EvaluationManifest"]


@dataclass(frozen=True)
class EvaluationManifest:
    """What an evaluation is of.

    Attributes:
        dataset: What is asked; None for calls without a dataset.
        scorers: Who scores.
        model: What is asked, and how its input is made; None where it is not ours to call.
        repeat: How often each record is asked.
        of_calls: Whether it is of calls that a callback heard, which cannot be asked again.
    """

    dataset: EvalDataset | None
    scorers: Sequence[Scorer]
    model: Any = None
    repeat: int = 1
    of_calls: bool = False

    def facts(self) -> dict[str, Any]:
        """All this as a journal keeps it."""
        return {
            "created_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "dataset": _facts_of(self.dataset),
            "model": fingerprint(self.model),
            "repeat": self.repeat,
            "of_calls": self.of_calls,
            "scorers": [
                {"name": s.name, "column": s.column, "fingerprint": fingerprint(s)}
                for s in self.scorers
            ],
        }

    def check_resumable(self, journal: Journal, *, allow_changes: bool) -> None:
        """Make sure that a journal is of this, or make it so.

        Args:
            journal: An earlier evaluation's.
            allow_changes: Whether it may be of something else. Answers to what is still asked are
                then kept, wherever they stand now; a scorer that has changed scores all rows again,
            and all score those again whose record has changed.

        Raises:
            JournalError: It is of something else, and may not be.
        """
        before, now = journal.facts, self.facts()
        if reason := _never(before):
            msg = f"Evaluation {journal.evaluation_id} cannot be gone on with: {reason}"
            raise JournalError(msg)
        scorers = {s["column"]: s["fingerprint"] for s in now["scorers"]}
        earlier = {s["column"]: s["fingerprint"] for s in before["scorers"]}
        changed = [name for name in ("model", "repeat") if before[name] != now[name]]
        changed += ["dataset"] if _content(before) != _content(now) else []
        changed += ["scorers"] if scorers != earlier else []
        if changed and not allow_changes:
            raise JournalError(_refusal(journal, changed))
        if scorers != earlier:
            stale = [c for c in earlier.keys() & scorers.keys() if earlier[c] != scorers[c]]
            journal.forget_scores(stale)
        if self.dataset is not None:
            rearrange(journal, self.dataset, self.repeat)
            if "dataset" in changed:
                update_records(journal, self.dataset, self.repeat)
        # What has changed is not at its end, even if what was before had come to its own.
        ended = {"complete": False, "logged": False} if changed else {}
        journal.note(**{**now, "created_at": before["created_at"], **ended})


def _facts_of(dataset: EvalDataset | None) -> dict[str, Any] | None:
    if dataset is None:
        return None
    return {
        "name": dataset.name,
        "source": dataset.source,
        "version": dataset.version,
        "digest": dataset.digest,
        "records": len(dataset),
    }


def _content(facts: Mapping[str, Any]) -> Any:
    return (facts["dataset"] or {}).get("digest")


def _never(facts: Mapping[str, Any]) -> str | None:
    """Why an evaluation cannot be gone on with, whatever is allowed."""
    if "scorers" not in facts:
        return "its process ended before it began. Nothing was asked: begin a new one."
    if facts.get("of_calls"):
        return (
            "it is of calls that a callback heard, and nobody can ask for those again. Read it "
            "with EvaluationResult.load, write it to MLflow with langchain-dbx-eval sync."
        )
    return None


def _refusal(journal: Journal, changed: Sequence[str]) -> str:
    return (
        f"Evaluation {journal.evaluation_id} cannot be gone on with as it is: changed since then: "
        f"{', '.join(changed)}. Begin a new one (without resume=), or give allow_changes=True: "
        "answers to questions that are still asked are then kept, as the earlier chain gave them."
    )
