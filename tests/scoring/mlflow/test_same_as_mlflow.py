"""Scorers of `mlflow.genai` give here what they give in `mlflow.genai.evaluate`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import pandas as pd
import pytest

from langchain_dbx_eval import evaluate

mlflow = pytest.importorskip("mlflow")
pytest.importorskip("langgraph")
agent = pytest.importorskip("tests.scoring.mlflow.agent")

URI = "openai:/local"
AGGREGATIONS = ["min", "max", "mean", "median", "variance", "p90"]


def row_scorers() -> list[Any]:
    from mlflow.genai import make_judge, scorer
    from mlflow.genai.scorers import (
        Correctness,
        Guidelines,
        RetrievalGroundedness,
        Scorer,
        ToolCallCorrectness,
        ToolCallEfficiency,
    )

    class CallCount(Scorer):
        name: str = "call_count"

        def __call__(self, *, outputs: Any, trace: Any) -> int:
            assert outputs["calls"] == len(trace.search_spans(span_type="TOOL"))
            return int(outputs["calls"])

    @scorer(aggregations=AGGREGATIONS)
    def length(outputs: Any) -> int:
        return len(outputs["answer"])

    @scorer
    def is_expected(inputs: Any, outputs: Any, expectations: Any) -> bool:
        (call,) = expectations["expected_tool_calls"]
        city = call["arguments"]["city"]
        return city in inputs["question"] and city in outputs["answer"]

    @scorer
    def broken(outputs: Any) -> bool:
        raise ValueError("no")

    judged = {"model": URI, "feedback_value_type": Literal["yes", "no"]}
    return [
        ToolCallCorrectness(model=URI),
        ToolCallCorrectness(name="exact_calls", should_exact_match=True),
        ToolCallEfficiency(model=URI),
        Guidelines(model=URI, guidelines=["Name the city."]),
        Correctness(model=URI),
        RetrievalGroundedness(model=URI),
        make_judge(name="uses_tool", instructions="Does {{ trace }} use the tool?", **judged),
        make_judge(name="fits", instructions="{{inputs}} {{outputs}} {{expectations}}", **judged),
        CallCount(),
        length,
        is_expected,
        broken,
    ]


def session_scorers() -> list[Any]:
    from mlflow.genai.scorers import ConversationCompleteness

    return [ConversationCompleteness(model=URI)]


@mlflow.trace
def traced_answer(question: str) -> dict[str, Any]:
    mlflow.update_current_trace(metadata={"mlflow.trace.session": agent.session_of(question)})
    return agent.answer(question)


@pytest.fixture
def autologged() -> Iterator[None]:
    mlflow.langchain.autolog()
    yield
    mlflow.langchain.autolog(disable=True)


@pytest.fixture
def theirs(autologged: None, mlflow_store: str, openai_server: Any) -> Any:
    """Metrics and values by question of MLflow: of rows, then of the sessions of their traces."""
    openai_server.answer = agent.judge
    scorers = row_scorers()
    rows = mlflow.genai.evaluate(data=agent.ROWS, predict_fn=traced_answer, scorers=scorers)
    traces = mlflow.search_traces(run_id=rows.run_id, return_type="list")
    sessions = mlflow.genai.evaluate(data=traces, scorers=session_scorers())
    values: dict[str, dict[str, Any]] = {}
    for result, run in ((rows, scorers), (sessions, session_scorers())):
        for row in result.result_df.to_dict("records"):
            of_row = values.setdefault(row["request"]["question"], {})
            of_row |= {scorer.name: row.get(f"{scorer.name}/value") for scorer in run}
    mlflow.langchain.autolog(disable=True)
    return {**rows.metrics, **sessions.metrics}, values


def test_scorers_give_the_same_values_and_metrics(theirs: Any) -> None:
    their_metrics, their_values = theirs
    rows = [{**row, "session_id": agent.session_of(**row["inputs"])} for row in agent.ROWS]
    ours = evaluate(agent.answer, rows, scorers=[*row_scorers(), *session_scorers()])
    our_values = {
        row["request"]["question"]: row for row in ours.tables["eval_results"].to_dict("records")
    }
    for question, of_row in their_values.items():
        for scorer in row_scorers():
            pair = our_values[question].get(f"{scorer.name}/value"), of_row[scorer.name]
            value, expected = (None if pd.isna(one) else one for one in pair)
            assert value == expected, (question, scorer.name)
            assert isinstance(value, bool) is isinstance(expected, bool), (question, scorer.name)
    for scorer in session_scorers():
        theirs_ = {q: row[scorer.name] for q, row in their_values.items()}
        ours_ = {q: row[f"{scorer.name}/value"] for q, row in our_values.items()}
        assert len(by_session(ours_)) == 5
        assert by_session(ours_) == by_session(theirs_)
    for name, value in their_metrics.items():
        assert ours.metrics[name] == pytest.approx(value), name


def by_session(values: dict[str, Any]) -> dict[str, Any]:
    """The value of each session, which one of its rows has: MLflow's first one is by time."""
    return {agent.session_of(q): value for q, value in values.items() if pd.notna(value)}
