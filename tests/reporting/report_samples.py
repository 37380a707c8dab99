"""The reports that the tests open in a browser."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from langchain_core.runnables import RunnableLambda

from langchain_dbx_eval import EvaluationCallbackHandler, EvaluationResult, evaluate
from langchain_dbx_eval.datasets import EvalRecord
from langchain_dbx_eval.demo.answerer import answer
from langchain_dbx_eval.demo.corpus import load_questions
from langchain_dbx_eval.demo.retriever import retriever_for
from langchain_dbx_eval.demo.run import build_chain
from langchain_dbx_eval.driver import RequestError
from langchain_dbx_eval.evaluation.journal.manifest import EvaluationManifest
from langchain_dbx_eval.evaluation.journal.rows import Answer, RowKey
from langchain_dbx_eval.evaluation.journal.store import Journal
from langchain_dbx_eval.reporting import write_report
from langchain_dbx_eval.scoring import Assessment, Outcome
from tests.reporting.support_answers import evaluate_support

LARGE = 10_000
HOSTILE = {
    "script": "<script>document.title = 'owned'</script><img src=x onerror=alert(1)>",
    "end": "</script></style><!-- --><script>document.title = 'owned'</script>",
    "template": "{{ 7 * 7 }} ${7 * 7} {% raw %} <%= 1 %>",
    "link": "javascript:document.title='owned'",
    "right-to-left": "مرحبا بالعالم \u202e reversed \u2066 isolated",
    "emoji": "👩‍👩‍👧‍👦 🏳️‍🌈 é e\u0301 \ud83d lone",
    "long": "word " * 20_000,
    "nul": "before\x00after \x1b[31mred\x1b[0m \x07bell \x7f",
    "formula": '=HYPERLINK("https://example.com")',
    "spaces": "two  spaces\n\tand a tab\u00a0and \u200bzero width",
}


def hostile_rows() -> list[dict[str, Any]]:
    """Return a row per text, which is everywhere in the row."""
    return [
        {
            "request_id": f"{name} {text[:60]}",
            "request": {"messages": [{"role": "user", "content": text}]},
            "response": f"{text} answer",
            "expected_response": text,
            "expected_facts": None,
            "retrieved_context": [{"doc_uri": text[:500], "content": text}],
            "expected_retrieved_context": [{"doc_uri": text[:500]}],
            f"column {text[:40]}": text[:60],
            "kind": text[:20],
        }
        for name, text in HOSTILE.items()
    ]


def _demo(path: Path) -> Path:
    handler = EvaluationCallbackHandler(
        load_questions(), evaluator_config={"databricks-agent": {"metrics": []}}
    )
    model: Any = RunnableLambda(lambda prompt: answer(prompt.to_string()))
    chain = build_chain(retriever_for("baseline"), model)
    for question in load_questions():
        request = question["request"] if isinstance(question, dict) else question.request
        # As in the demonstration: a prompt of the baseline that exceeds the model's context fails.
        with suppress(RequestError):
            chain.invoke(request, config={"callbacks": [handler]})
    return write_report(handler.result(), path)


def _comparison(path: Path) -> Path:
    baseline = evaluate_support(0.55, "prompt-v1")
    return write_report(evaluate_support(0.8, "prompt-v2"), path, baselines=[baseline])


def _repeated(path: Path) -> Path:
    return write_report(evaluate_support(0.7, "prompt-v3", repeat=2), path)


def _hostile(path: Path) -> Path:
    return write_report(evaluate(data=hostile_rows()), path)


def _large(path: Path) -> Path:
    return write_report(large_result(), path)


def large_result(rows: int = LARGE) -> EvaluationResult:
    """Return an evaluation with 4 KiB of text in each row, written directly to a journal."""
    manifest = EvaluationManifest(
        created_at="2026-01-01T00:00:00+00:00",
        dataset=None,
        model="m",
        repeat=1,
        from_callback=True,
        scorers={"response/score": "s"},
    )
    journal = Journal.create(manifest)
    for number in range(rows):
        words = " ".join(f"word-{number * 7919 % 9973}-{i}" for i in range(60))
        record = EvalRecord(
            request=f"Question {number}? {words}",
            request_id=f"row-{number}",
            expected_response=words,
        )
        outcome = Outcome(response=(words * 4)[:2800], latency_seconds=0.1 + number % 50 / 100)
        score = Assessment(name="score", column="response/score", value=number % 101 / 100)
        journal.save_answer(RowKey(number), Answer(record=record, outcome=outcome))
        journal.save_scores(RowKey(number), {"response/score": [score]}, last=True)
    return EvaluationResult(journal)


WRITERS: dict[str, Callable[[Path], Path]] = {
    "demo": _demo,
    "comparison": _comparison,
    "repeated": _repeated,
    "hostile": _hostile,
    "large": _large,
}


def as_stored(text: str) -> str:
    """Return a text as the journal stores it: it marks NUL and half of a surrogate pair."""
    return re.sub("[\0\ud800-\udfff]", lambda found: f"\ufffd<U+{ord(found[0]):04X}>", text)
