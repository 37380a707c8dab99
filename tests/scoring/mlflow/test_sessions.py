"""Session-level scorers of `mlflow.genai` receive the rows of a session."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.runnables import RunnableLambda

from langchain_dbx_eval import EvaluationCallbackHandler, evaluate

mlflow = pytest.importorskip("mlflow")

ROWS = [{"request": f"q{n}", "response": f"a{n}", "session_id": f"s{n % 2}"} for n in range(4)]
NO_JUDGES = {"databricks-agent": {"metrics": []}}
SESSION = "mlflow.trace.session"


def turns() -> Any:
    from mlflow.entities import Feedback
    from mlflow.genai import scorer

    @scorer
    def turns(session: Any) -> Feedback:
        outputs = [trace.data.spans[0].outputs for trace in session]
        return Feedback(value=len(session), rationale=" ".join(map(str, outputs)))

    return turns


def values(result: Any) -> list[tuple[int, Any, Any]]:
    return [
        (row.number, a.value, a.rationale)
        for row in result.rows
        for a in row.assessments
        if a.name == "turns"
    ]


def test_a_session_is_scored_once_with_its_rows_in_order(mlflow_store: str) -> None:
    result = evaluate(data=ROWS, scorers=[turns()])
    assert values(result) == [(0, 2, "a0 a2"), (1, 2, "a1 a3")]
    assert result.metrics["turns/value/average"] == result.metrics["turns/mean"] == 2
    assert result.summary.counts["turns/value/average"] == 2


def test_the_assessment_and_the_session_are_in_mlflow(mlflow_store: str) -> None:
    result = evaluate(
        RunnableLambda(lambda text: text.upper()),
        [{**r, "response": None} for r in ROWS],
        scorers=[turns()],
    )
    traces = [mlflow.get_trace(trace_id) for trace_id in result.trace_ids]
    assert [trace.info.trace_metadata[SESSION] for trace in traces] == ["s0", "s1", "s0", "s1"]
    logged = [[a for a in t.info.assessments if a.name == "turns"] for t in traces]
    assert [len(one) for one in logged] == [1, 1, 0, 0]
    assert logged[0][0].value == 2
    assert logged[0][0].metadata[SESSION] == "s0"


def test_a_row_without_a_session_is_skipped_and_counted(mlflow_store: str) -> None:
    rows = [*ROWS, {"request": "q", "response": "a"}]
    result = evaluate(data=rows, scorers=[turns()], evaluator_config=NO_JUDGES)
    assert len(values(result)) == 2
    assert result.summary.skipped == {"turns": 1}


def test_each_repetition_is_a_session_of_its_own(mlflow_store: str) -> None:
    rows = [{key: row[key] for key in ("request", "session_id")} for row in ROWS]
    result = evaluate(RunnableLambda(lambda text: text.upper()), rows, scorers=[turns()], repeat=2)
    assert [value for _, value, _ in values(result)] == [2, 2, 2, 2]


def test_a_scorer_that_fails_is_an_error_of_its_session(mlflow_store: str) -> None:
    from mlflow.genai import scorer

    @scorer
    def broken(session: Any) -> int:
        raise ValueError("no session today")

    result = evaluate(data=ROWS, scorers=[broken])
    assert result.metrics["judge/broken/error_count"] == 2
    assert "no session today" in result.rows[0].assessments[-1].error


def test_finished_sessions_are_not_scored_again(mlflow_store: str) -> None:
    from mlflow.genai import scorer

    calls = []

    @scorer
    def turns(session: Any) -> int:
        calls.append(len(session))
        return len(session)

    result = evaluate(data=ROWS, scorers=[turns])
    again = evaluate(data=ROWS, scorers=[turns], resume=result.run_id)
    assert values(again) == values(result)
    assert calls == [2, 2]


def test_the_callback_reads_the_session_from_the_metadata_of_the_config(mlflow_store: str) -> None:
    handler = EvaluationCallbackHandler(scorers=[turns()])
    for number, session in enumerate(("s0", "s1", "s0")):
        config = {"callbacks": [handler], "metadata": {SESSION: session}}
        RunnableLambda(str.upper).invoke(f"q{number}", config)
    assert values(handler.result()) == [(0, 2, "Q0 Q2"), (1, 1, "Q1")]


def test_the_sessions_of_traces_are_scored(mlflow_store: str) -> None:
    @mlflow.trace
    def answer(question: str, session: str) -> str:
        mlflow.update_current_trace(metadata={SESSION: session})
        return question.upper()

    for number, session in enumerate(("s0", "s1", "s0")):
        answer(f"q{number}", session)
    mlflow.flush_trace_async_logging()
    result = evaluate(data=mlflow.search_traces(), scorers=[turns()])
    assert sorted((value, text) for _, value, text in values(result)) == [(1, "Q1"), (2, "Q0 Q2")]
