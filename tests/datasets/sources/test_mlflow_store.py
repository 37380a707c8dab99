"""MLflow's own datasets, in a real store: both ways, and around its traps."""

from __future__ import annotations

import json

import mlflow
import pytest
from mlflow.genai.datasets import create_dataset

from langchain_dbx_eval import EvalDataset, errors
from langchain_dbx_eval.datasets import record_key

pytestmark = pytest.mark.usefixtures("mlflow_store")

FULL = {
    "request_id": "7",
    "request": {"question": "q"},
    "response": {"answer": 1},
    "expected_response": "e",
    "expected_facts": ["f"],
    "guidelines": {"tone": ["kind"]},
    "expected_retrieved_context": [{"doc_uri": "a", "content": "c"}],
    "retrieved_context": [{"doc_uri": "b"}],
    "topic": "t",
    "tags": {"k": "v"},
}


def test_a_record_goes_to_mlflow_and_comes_back_unchanged(three) -> None:
    dataset = EvalDataset.load([FULL, *three])
    theirs = dataset.to_mlflow("questions")
    back = EvalDataset.load(theirs)
    assert {r.request_id: r for r in back} == {r.request_id: r for r in dataset}
    assert back.digest == dataset.digest
    assert (back.backend, back.name) == ("mlflow", "questions")


def test_their_keys_are_ours(three) -> None:
    theirs = EvalDataset.load(three).to_mlflow("questions")
    keys = {record_key(inputs) for inputs in theirs.to_df()["inputs"]}
    assert keys == {record_key(record.request) for record in EvalDataset.load(three)}


def test_a_dataset_is_found_by_object_id_and_name(three) -> None:
    theirs = EvalDataset.load(three).to_mlflow("main.default.questions")
    by_id = EvalDataset.load(theirs.dataset_id)
    by_name = EvalDataset.load("main.default.questions", backend="mlflow")
    assert by_id.dataset_id == by_name.dataset_id == theirs.dataset_id
    assert len(by_id) == 3
    assert by_id.created_by == theirs.created_by
    assert by_id.last_update_time.tzinfo is not None


def test_of_several_with_one_name_the_ids_are_told(three) -> None:
    ids = {create_dataset(name="twice").dataset_id for _ in range(2)}
    with pytest.raises(errors.ConfigurationError) as caught:
        EvalDataset.load("twice", backend="mlflow")
    assert all(id_ in str(caught.value) for id_ in ids)
    with pytest.raises(errors.ConfigurationError, match="several"):
        EvalDataset.load(three).to_mlflow("twice")


def test_one_that_is_not_there_is_told() -> None:
    with pytest.raises(errors.NotFoundError, match="'none'"):
        EvalDataset.load("none", backend="mlflow")
    with pytest.raises(errors.NotFoundError, match="d-0"):
        EvalDataset.load(f"d-{'0' * 32}")


def test_merging_twice_keeps_each_once_and_shows_the_new_state(three) -> None:
    theirs = create_dataset(name="questions")
    dataset = EvalDataset.load(theirs)
    version = dataset.version
    rows = [dict(row) for row in three]
    for _ in range(2):
        dataset.merge_records(rows)
    assert (len(dataset), rows) == (3, three)
    assert dataset.version != version
    assert len(EvalDataset.load(theirs)) == 3


def test_exporting_twice_merges_into_the_first(three) -> None:
    first = EvalDataset.load(three).to_mlflow("questions")
    second = EvalDataset.load([*three, {"request": "four?"}]).to_mlflow("questions")
    assert (first.dataset_id, len(second.to_df())) == (second.dataset_id, 4)


def test_what_mlflow_refuses_is_told_and_nothing_is_added(three) -> None:
    dataset = EvalDataset.load(create_dataset(name="questions"))
    with pytest.raises(errors.SchemaError, match="session fields"):
        dataset.merge_records([*three, {"inputs": {"goal": "g", "other": 1}}])
    assert len(dataset) == 0


def test_an_unnamed_dataset_needs_a_name(three) -> None:
    with pytest.raises(errors.ConfigurationError, match="name"):
        EvalDataset.load(three).to_mlflow()


def test_reading_writes_nothing_to_the_store(three, mlflow_store) -> None:
    import sqlite3

    theirs = EvalDataset.load(three).to_mlflow("questions")
    path = mlflow_store.removeprefix("sqlite:///")

    def dump() -> list[str]:
        with sqlite3.connect(path) as connection:
            return list(connection.iterdump())

    before = dump()
    dataset = EvalDataset.load(theirs.dataset_id)
    assert (len(dataset), len(dataset.digest)) == (3, 16)
    assert dump() == before


def test_a_dataset_is_logged_as_the_input_of_a_run(three) -> None:
    dataset = EvalDataset.create("main.default.questions", three)
    dataset.merge_records([{"request": "four?"}])
    with mlflow.start_run() as run:
        mlflow.log_input(dataset.mlflow_input(), context="evaluation")
    [logged] = mlflow.get_run(run.info.run_id).inputs.dataset_inputs
    assert (logged.dataset.name, logged.dataset.digest) == (dataset.name, dataset.digest)
    source = json.loads(logged.dataset.source)
    assert (source["path"].removesuffix("/").endswith("questions"), source) == (
        True,
        {"path": source["path"], "delta_table_version": 1},
    )
    assert json.loads(logged.dataset.profile)["num_rows"] == 4


def test_traces_become_records() -> None:
    from mlflow.entities import AssessmentSource

    @mlflow.trace
    def chain(question: str) -> str:
        with mlflow.start_span("search", span_type="RETRIEVER") as span:
            span.set_outputs([{"page_content": "text", "metadata": {"doc_uri": "d"}}])
        return f"answer to {question}"

    chain("one")
    chain("two")
    mlflow.flush_trace_async_logging()
    trace_id = mlflow.get_last_active_trace_id()
    mlflow.log_expectation(
        trace_id=trace_id,
        name="expected_response",
        value="2",
        source=AssessmentSource(source_type="HUMAN", source_id="me"),
    )
    dataset = EvalDataset.from_traces("tests")
    # Two traces of one millisecond have no order.
    one, two = sorted(dataset, key=lambda record: record.response)
    assert (one.request, one.response) == ({"question": "one"}, "answer to one")
    assert one.retrieved_context == [{"doc_uri": "d", "content": "text"}]
    assert two.expected_response == "2"
    assert two.request_id == trace_id
    assert EvalDataset.create("main.default.traced", dataset).digest == dataset.digest
    assert len(EvalDataset.from_traces("tests", limit=1)) == 1


def test_traces_keep_the_uri_of_a_document_under_each_key_that_retrievers_use() -> None:
    @mlflow.trace(span_type="RETRIEVER")
    def search(question: str) -> list[dict]:
        metadata = [{"doc_uri": "a"}, {"uri": "b"}, {"source": "c"}, {"url": "d"}, {"page": 1}]
        return [{"page_content": question, "metadata": each} for each in metadata]

    search("one")
    [record] = EvalDataset.from_traces("tests")
    uris = [chunk.get("doc_uri") for chunk in record.retrieved_context]
    assert uris == ["a", "b", "c", "d", None]


def test_traces_of_no_experiment_are_told() -> None:
    with pytest.raises(errors.NotFoundError, match="'none'"):
        EvalDataset.from_traces("none")
