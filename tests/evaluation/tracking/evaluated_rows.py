"""Evaluated rows as they are written to MLflow."""

from __future__ import annotations

from uuid import UUID

from langchain_core.messages import HumanMessage

from langchain_dbx_eval.datasets import EvalRecord
from langchain_dbx_eval.evaluation.capture.spans import CapturedRun, Span
from langchain_dbx_eval.evaluation.journal.rows import Row, RowKey
from langchain_dbx_eval.scoring import Assessment, Outcome, RowScores
from langchain_dbx_eval.scoring.assessments import JudgeUsage

START_NS = 1_760_000_000_000_000_000
EVALUATION = "e" * 32


def call(number: int, *, autolog_id: str | None = None, error: str | None = None) -> CapturedRun:
    """A call of a chain with one model."""
    start = START_NS + number * 1_000_000
    root = UUID(int=(number + 1) << 64 | 0xABCDEF)
    chain = Span(
        run_id=root,
        parent_id=None,
        kind="CHAIN",
        name="chain",
        inputs={"question": f"question {number}"},
        outputs=None if error else f"answer {number}: äöü",
        error=error,
        start_ns=start,
        end_ns=start + 5_000_000,
    )
    model = Span(
        run_id=UUID(int=root.int + 1),
        parent_id=root,
        kind="CHAT_MODEL",
        name="model",
        inputs={"messages": [HumanMessage(f"question {number}")]},
        outputs=f"answer {number}",
        start_ns=start + 1_000_000,
        end_ns=start + 4_000_000,
        input_tokens=3,
        output_tokens=4,
    )
    return CapturedRun((chain, model), trace_id=autolog_id)


def assessments(number: int) -> tuple[Assessment, ...]:
    """One assessment of each kind of value."""
    usage = JudgeUsage(calls=1, input_tokens=10, output_tokens=2, cost_usd=0.5)
    return (
        Assessment(name="exact", column="exact", value=number % 2 == 0),
        Assessment(name="f1", column="f1", value=number / 7, rationale="so many words"),
        Assessment(name="chunk", column="chunk", value="yes", metadata={"chunk_index": "0"}),
        Assessment(name="chunk", column="chunk", value="no", metadata={"chunk_index": "1"}),
        Assessment(name="broken", column="broken", error="ValueError: no"),
        Assessment(name="judged", column="judged", value="yes", source="LLM_JUDGE", usage=usage),
    )


def evaluated(
    number: int,
    *,
    run: bool = True,
    repetition: int = 1,
    autolog_id: str | None = None,
    error: str | None = None,
) -> Row:
    """A row whose fields contain its number."""
    captured = call(number, autolog_id=autolog_id, error=error) if run else None
    return Row(
        key=RowKey(number, repetition),
        record=EvalRecord(
            request=f"question {number}",
            request_id=f"r{number}",
            expected_response=f"answer {number}",
            expected_facts=["one", "two"],
        ),
        outcome=captured.outcome() if captured else Outcome(response=f"answer {number}"),
        scores=RowScores(assessments(number)),
        run=captured,
        matched=True,
    )
