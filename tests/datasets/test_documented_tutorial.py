"""The dataset tutorial of the reference documentation, in each store."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

import langchain_dbx_eval.datasets
from langchain_dbx_eval import EvalDataset, errors
from langchain_dbx_eval.testing import LocalWorkspace

NAME = "main.default.dataset_exmaple"
QUESTIONS = ("What is sound?", "How does string theory work?", "How does a democracy work?")
EXAMPLES = [
    {
        "inputs": {"question": question},
        "expectations": {"expected_response": f"Okay! Imagine … {question}"},
    }
    for question in QUESTIONS
]
Open = Callable[[], EvalDataset]


@pytest.fixture(params=["local catalog", "OSS MLflow", "emulated workspace", "managed"])
def create_and_load(request: pytest.FixtureRequest) -> Iterator[tuple[Open, Open]]:
    if request.param == "local catalog":
        yield lambda: EvalDataset.create(NAME), lambda: EvalDataset.load(NAME)
    elif request.param == "OSS MLflow":
        request.getfixturevalue("mlflow_store")

        def create() -> EvalDataset:
            from mlflow.genai.datasets import create_dataset, search_datasets

            if [found for found in search_datasets() if found.name == NAME]:
                msg = "MLflow would silently create a second dataset."
                raise errors.AlreadyExistsError(msg)
            return EvalDataset.load(create_dataset(name=NAME))

        yield create, lambda: EvalDataset.load(NAME, backend="mlflow")
    elif request.param == "managed":
        pytest.importorskip("databricks.agents", reason="databricks-agents is not installed")
        import mlflow

        with LocalWorkspace(), pytest.MonkeyPatch.context() as patch:
            mlflow.set_tracking_uri("databricks")
            patch.setattr(mlflow.tracking.fluent, "_active_experiment_id", "7")
            yield (
                lambda: EvalDataset.create(NAME, backend="managed"),
                lambda: EvalDataset.load(NAME, backend="managed"),
            )
        mlflow.set_tracking_uri(None)
    else:
        with LocalWorkspace() as workspace, pytest.MonkeyPatch.context() as patch:
            workspace.add_warehouse("serverless", state="STOPPED", start_seconds=0.3)
            patch.setenv("DATABRICKS_WAREHOUSE_ID", "serverless")
            yield lambda: EvalDataset.create(NAME), lambda: EvalDataset.load(NAME)


def test_the_tutorial_runs_step_by_step(create_and_load: tuple[Open, Open]) -> None:
    create, load = create_and_load
    dataset = create()
    with pytest.raises(errors.AlreadyExistsError):
        create()
    assert load().dataset_id == dataset.dataset_id

    dataset = dataset.merge_records(EXAMPLES)
    dataset = dataset.merge_records(EXAMPLES)
    assert len(dataset) == 3

    dataset = load()
    assert dataset.dataset_id
    assert dataset.created_by
    assert dataset.last_update_time
    assert {record.request["question"] for record in dataset} == set(QUESTIONS)
    assert "What is sound?" in dataset._repr_html_()


@pytest.mark.parametrize("store", ["local", "warehouse", "managed"], indirect=True)
def test_the_code_for_mlflow_runs_with_another_import(store, monkeypatch) -> None:
    if "warehouse_id" in store.options:
        monkeypatch.setenv("DATABRICKS_WAREHOUSE_ID", store.options["warehouse_id"])
    options = {name: store.options[name] for name in store.options if name == "backend"}
    for _ in range(2):
        # As in the documentation, which knows an existing table by the text of the error.
        try:
            dataset = langchain_dbx_eval.datasets.create_dataset(uc_table_name=NAME, **options)
        except Exception as error:
            if "400" not in str(error) or "already exists" not in str(error):
                raise
            dataset = langchain_dbx_eval.datasets.get_dataset(uc_table_name=NAME, **options)
        dataset = dataset.merge_records(EXAMPLES)
        assert len(dataset) == 3
    with pytest.raises(errors.AlreadyExistsError) as caught:
        EvalDataset.create(name=NAME, **options)
    assert (caught.value.status_code, caught.value.error_code) == (400, "TABLE_ALREADY_EXISTS")
    assert "get_or_create" in str(caught.value)
    assert len(EvalDataset.get_or_create(uc_table_name=NAME, **options)) == 3
    assert EvalDataset.load(name=NAME, **options).dataset_id == dataset.dataset_id
    langchain_dbx_eval.datasets.delete_dataset(uc_table_name=NAME, **options)
    with pytest.raises(errors.NotFoundError):
        langchain_dbx_eval.datasets.get_dataset(name=NAME, **options)


@pytest.mark.parametrize(
    "call", [EvalDataset.create, EvalDataset.load, EvalDataset.get_or_create, EvalDataset.delete]
)
def test_a_missing_or_a_second_name_raises(call) -> None:
    with pytest.raises(errors.ConfigurationError, match=r"missing.*uc_table_name="):
        call()
    with pytest.raises(errors.ConfigurationError, match="more than once"):
        call(NAME, uc_table_name=NAME)
