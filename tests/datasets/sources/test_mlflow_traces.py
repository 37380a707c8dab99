"""MLflow traces, as objects, as frames and in columns, are records with their expectations."""

from __future__ import annotations

import json
from typing import Any

import mlflow
import pandas as pd
import pytest
from mlflow.entities import AssessmentSource

from langchain_dbx_eval import EvalDataset, EvalRecord, evaluate, scorer

pytestmark = pytest.mark.usefixtures("mlflow_store")
HUMAN = AssessmentSource(source_type="HUMAN", source_id="me")


@pytest.fixture
def trace_ids() -> list[str]:
    """Two traces with different sessions; the second has expectations."""

    @mlflow.trace
    def chain(question: str) -> dict[str, str]:
        mlflow.update_current_trace(metadata={"mlflow.trace.session": f"session of {question}"})
        with mlflow.start_span("search", span_type="RETRIEVER") as span:
            span.set_outputs([{"page_content": "text", "metadata": {"doc_uri": "d"}}])
        return {"content": f"answer to {question}"}

    ids = []
    for question in ("one?", "two?"):
        chain(question)
        ids.append(mlflow.get_last_active_trace_id())
    mlflow.flush_trace_async_logging()
    for name, value in (("expected_response", "2"), ("tone", "kind")):
        mlflow.log_expectation(trace_id=ids[1], name=name, value=value, source=HUMAN)
    return ids


def by_question(dataset: EvalDataset) -> list[EvalRecord]:
    return sorted(dataset, key=lambda record: record.request["question"])


FORMS = {
    "frame": lambda: mlflow.search_traces(),
    "list": lambda: mlflow.search_traces(return_type="list"),
    "renamed frame": lambda: mlflow.search_traces().rename(
        columns={"request": "inputs", "response": "outputs"}
    ),
    "part of the frame": lambda: mlflow.search_traces()[["request", "response", "trace"]],
    "column of objects": lambda: [
        {"trace": trace} for trace in mlflow.search_traces(return_type="list")
    ],
    "column of dicts": lambda: pd.DataFrame(
        [{"trace": json.loads(trace)} for trace in mlflow.search_traces()["trace"]]
    ),
}


@pytest.mark.parametrize("make", FORMS.values(), ids=FORMS)
def test_every_form_of_traces_is_loaded_and_merged(trace_ids: list[str], make: Any) -> None:
    loaded = EvalDataset.load(make())
    for dataset in (loaded, EvalDataset.create("main.default.traced").merge_records(make())):
        one, two = by_question(dataset)
        assert (one.request, one.response) == ({"question": "one?"}, {"content": "answer to one?"})
        assert one.retrieved_context == [{"doc_uri": "d", "content": "text"}]
        assert (one.expectations, two.expectations) == (
            {},
            {"expected_response": "2", "tone": "kind"},
        )
        assert [one.trace_id, two.trace_id] == trace_ids
        assert one.metadata == {"trace_id": trace_ids[0], "session_id": "session of one?"}
    assert EvalDataset.create("main.default.copy", loaded).digest == loaded.digest


@pytest.fixture
def traces(trace_ids: list[str]) -> pd.DataFrame:
    """The frame of the two traces, read before the tracking server changes."""
    return mlflow.search_traces()


def test_traces_are_merged_into_each_store(trace_ids, traces, store) -> None:
    one, two = by_question(store.create(traces))
    assert [one.trace_id, two.trace_id] == trace_ids
    assert two.expectations == {"expected_response": "2", "tone": "kind"}
    assert two.retrieved_context == [{"doc_uri": "d", "content": "text"}]


def test_the_expectations_of_traces_are_those_of_an_evaluation(trace_ids) -> None:
    @scorer
    def is_kind(expectations: dict[str, Any]) -> bool:
        return expectations.get("tone") == "kind"

    result = evaluate(data=mlflow.search_traces(), scorers=[is_kind])
    rows = sorted(result.rows, key=lambda row: row.record.request["question"])
    assert [row.assessments[0].value for row in rows] == [False, True]
    assert [row.record.trace_id for row in rows] == trace_ids


def test_a_loaded_trace_is_on_its_record_and_a_table_has_its_id_only(trace_ids) -> None:
    dataset = EvalDataset.load(mlflow.search_traces())
    assert {record.trace["info"]["trace_id"] for record in dataset} == set(trace_ids)
    table = EvalDataset.create("main.default.traced", dataset)
    assert {record.trace for record in table} == {None}
    assert {record.trace_id for record in table} == set(trace_ids)


def test_columns_of_a_row_replace_the_values_of_its_trace(trace_ids) -> None:
    row = {
        "trace": mlflow.get_trace(trace_ids[1]),
        "outputs": "mine",
        "expected_response": "3",
        "expectations": {"length": 5},
    }
    [record] = EvalDataset.load([row])
    assert (record.request, record.response) == ({"question": "two?"}, "mine")
    assert record.expectations == {"expected_response": "3", "tone": "kind", "length": 5}


def test_an_updated_expectation_is_read(trace_ids) -> None:
    trace = mlflow.get_trace(trace_ids[1])
    [old] = trace.search_assessments("tone", type="expectation")
    mlflow.update_assessment(
        trace_ids[1], old.assessment_id, mlflow.entities.Expectation("tone", "dry", source=HUMAN)
    )
    [record] = EvalDataset.load([mlflow.get_trace(trace_ids[1])])
    assert record.expectations["tone"] == "dry"


def test_a_trace_without_spans_is_an_invalid_row(trace_ids) -> None:
    traces = mlflow.search_traces(return_type="list", include_spans=False)
    [first, second] = EvalDataset.load(traces).invalid_rows
    assert "include_spans=True" in str(first.error)
    assert (first.index, second.index) == (0, 1)


def test_a_trace_that_cannot_be_parsed_is_an_invalid_row_only_without_inputs() -> None:
    dataset = EvalDataset.load([{"trace": "no JSON"}, {"request": "q", "trace": "no JSON"}])
    assert [record.request for record in dataset] == ["q"]
    [row] = dataset.invalid_rows
    assert "Row 0, column 'trace': expected an MLflow trace or its JSON" in str(row.error)
