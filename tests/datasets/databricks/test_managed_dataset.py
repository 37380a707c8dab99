"""Databricks' managed datasets: the real databricks-agents with the emulated service."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator

import pytest

from langchain_dbx_eval import EvalDataset, errors
from langchain_dbx_eval.datasets.databricks.agents_client import call_agents
from langchain_dbx_eval.testing import LocalWorkspace
from langchain_dbx_eval.testing.faults import Denied, LostAnswer, Unavailable

pytest.importorskip("databricks.agents", reason="databricks-agents is not installed")
NAME = "main.default.questions"
THREE = [
    {"inputs": {"question": "one?"}, "expectations": {"expected_response": "1"}},
    {"inputs": {"question": "two?", "n": 2}, "expectations": {"expected_facts": ["f"], "x": 0.5}},
    {
        "inputs": {"messages": [{"role": "user", "content": "drei?"}], "deep": [None, {"é": 1.0}]},
        "request_id": "third",
        "response": {"content": "3"},
        "retrieved_context": [{"doc_uri": "d", "content": "c"}],
        "guidelines": ["g"],
        "tags": {"topic": "numbers"},
    },
]


@pytest.fixture
def workspace(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalWorkspace]:
    import mlflow

    with LocalWorkspace() as running:
        mlflow.set_tracking_uri("databricks")
        monkeypatch.setattr(mlflow.tracking.fluent, "_active_experiment_id", "7")
        yield running
    mlflow.set_tracking_uri(None)


def create(records=()) -> EvalDataset:
    return EvalDataset.create(NAME, records, backend="managed")


def hide_package(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("databricks.agents", "databricks.agents.datasets"):
        monkeypatch.setitem(sys.modules, name, None)


def written(workspace: LocalWorkspace) -> list[str]:
    paths = [r.path.rpartition("/")[2] for r in workspace.requests if r.method != "GET"]
    return [path for path in paths if path != "datasets"]


def test_records_that_are_merged_twice_are_stored_once_and_unchanged(workspace) -> None:
    dataset = create()
    for _ in range(2):
        dataset = dataset.merge_records(THREE)
    expected = {record.request_id: record for record in EvalDataset.load(THREE)}
    assert {record.request_id: record for record in dataset} == expected
    assert (len(dataset), dataset.backend, dataset.name) == (3, "managed", NAME)
    assert (dataset.created_by, dataset.dataset_id) == (
        "you@example.com",
        EvalDataset.load(NAME, backend="managed").dataset_id,
    )
    assert dataset.last_update_time is not None
    assert written(workspace) == ["records:batchCreate", "records:batchUpdate"]


def test_the_warehouse_backend_reads_its_table(workspace) -> None:
    dataset = create(THREE)
    workspace.add_warehouse("wh")
    table = EvalDataset.load(NAME, warehouse_id="wh")
    assert (len(table), table.digest) == (3, dataset.digest)
    with pytest.raises(errors.SchemaError, match="backend='managed'"):
        table.merge_records(THREE)


def test_reading_sends_only_get_requests_and_needs_no_package(workspace, monkeypatch) -> None:
    create(THREE)
    workspace.clear_requests()
    hide_package(monkeypatch)
    dataset = EvalDataset.load(NAME, backend="managed")
    assert (len(dataset), len(dataset.digest), len(dataset.schema)) == (3, 16, 3)
    dataset._repr_html_()
    assert {r.method for r in workspace.requests} == {"GET"}


def test_creating_an_existing_table_raises_and_get_or_create_opens_it(workspace) -> None:
    create(THREE)
    with pytest.raises(errors.AlreadyExistsError, match="already exists") as caught:
        create()
    assert (caught.value.status_code, caught.value.error_code) == (400, "TABLE_ALREADY_EXISTS")
    assert len(EvalDataset.get_or_create(NAME, backend="managed")) == 3


def test_expectations_and_tags_of_the_same_inputs_are_merged(workspace) -> None:
    dataset = create([{"request": "q", "expected_response": "old"}])
    more = {"request": "q", "tags": {"a": "b"}}
    dataset.merge_records([{"request": "q", "expected_facts": ["f"]}, more])
    [record] = dataset.merge_records([{"request": "q", "expected_response": "new"}])
    assert (record.expected_response, record.expected_facts) == ("new", ["f"])
    assert record.metadata == {"tags": {"a": "b"}}


def test_records_beyond_the_size_of_a_request_and_a_page_are_stored(workspace) -> None:
    dataset = create({"inputs": {"question": f"q{n}"}} for n in range(620))
    assert len(dataset) == 620
    assert len(written(workspace)) == 7


def test_creating_without_permission_raises(workspace) -> None:
    workspace.inject_fault(NAME, Denied("no CREATE TABLE on main.default"))
    with pytest.raises(errors.PermissionDeniedError, match="no CREATE TABLE"):
        create(THREE)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [(Unavailable(), errors.ServerError), (Denied(), errors.PermissionDeniedError)],
)
def test_a_rejected_batch_raises_although_the_package_only_logs_it(workspace, fault, kind) -> None:
    dataset = create()
    workspace.inject_fault(NAME, fault)
    with pytest.raises(kind, match=r"3 of 3 records were not stored.*one\?"):
        dataset.merge_records(THREE)
    assert len(dataset.merge_records(THREE)) == 3


def test_a_lost_response_loses_no_record_and_duplicates_are_logged(workspace, caplog) -> None:
    dataset = create()
    workspace.inject_fault(NAME, LostAnswer())
    dataset.merge_records(THREE)
    assert len({record.request_id for record in dataset}) == 3
    assert "3 records are duplicated" in caplog.text


def test_an_unavailable_service_raises(workspace) -> None:
    workspace.inject_fault(NAME, Unavailable())
    with pytest.raises(errors.ServerError, match="503"):
        create(THREE)


def test_a_dataset_that_mlflow_would_rewrite_is_read_but_not_merged_into(workspace) -> None:
    create(THREE)
    workspace._state.lakehouse.tables[NAME].managed = "legacy"
    dataset = EvalDataset.load(NAME, backend="managed")
    assert len(dataset) == 3
    workspace.clear_requests()
    with pytest.raises(errors.ConfigurationError, match="rewrites the whole table"):
        dataset.merge_records([{"inputs": {"question": "four?"}}])
    assert written(workspace) == []


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"request": {"n": 2**53 + 1}}, "round the number 9007199254740993"),
        ({"request": "a", "expected_facts": []}, "column 'expected_facts'.*empty value"),
        ({"request": "a", "tags": {"n": 1}}, "tag 'n'"),
        ({"request": "a", "metadata": {"x": float("nan")}}, "NaN"),
    ],
)
def test_a_value_that_it_would_change_is_rejected_and_nothing_is_created(
    workspace, row, message
) -> None:
    with pytest.raises(errors.SchemaError, match=rf"Record 1.*{message}"):
        create([{"request": "good"}, row])
    with pytest.raises(errors.NotFoundError):
        EvalDataset.load(NAME)


def test_the_package_rejects_strings_and_objects_in_one_dataset(workspace) -> None:
    dataset = create([{"request": "a text"}])
    with pytest.raises(errors.SchemaError, match="Schema mismatch"):
        dataset.merge_records([{"inputs": {"question": "an object"}}])


def test_the_missing_package_raises_with_the_alternative(workspace, monkeypatch) -> None:
    hide_package(monkeypatch)
    with pytest.raises(
        errors.MissingDependencyError, match=r"eval\[databricks\].*backend='warehouse'"
    ):
        create(THREE)
    assert workspace.requests == []


def test_missing_tracking_uri_or_experiment_raises(workspace, monkeypatch) -> None:
    import mlflow

    monkeypatch.setattr(mlflow.tracking.fluent, "_active_experiment_id", "0")
    with pytest.raises(errors.ConfigurationError, match="set_experiment"):
        create()
    mlflow.set_tracking_uri("sqlite:///mlflow.db")
    with pytest.raises(errors.ConfigurationError, match=r"set_tracking_uri\('databricks'\)"):
        create()


def test_a_login_that_the_package_would_not_use_raises(workspace) -> None:
    from databricks.sdk import WorkspaceClient

    client = WorkspaceClient(host=workspace.url, token=workspace.token)
    with (
        LocalWorkspace() as another,
        pytest.raises(errors.ConfigurationError, match=f"is {another.url}, but {workspace.url}"),
    ):
        EvalDataset.create(NAME, backend="managed", workspace_client=client)


def test_a_plain_table_is_not_a_managed_dataset(workspace) -> None:
    workspace.add_table(NAME, [{"request": "a"}])
    with pytest.raises(errors.NotFoundError, match=r"without backend='managed'"):
        EvalDataset.load(NAME, backend="managed")
    with pytest.raises(errors.ConfigurationError, match="no versions"):
        EvalDataset.load(NAME, backend="managed", version=1)


def test_the_model_registry_of_mlflow_is_restored(workspace) -> None:
    import mlflow

    mlflow.set_registry_uri("sqlite:///models.db")
    call_agents(
        # databricks-agents does this at its first call in a process.
        lambda: mlflow.set_registry_uri("databricks-uc"),
        target="a dataset",
        host=workspace.url,
        timeout=30,
    )
    assert mlflow.get_registry_uri() == "sqlite:///models.db"
    mlflow.set_registry_uri(None)


def test_a_call_that_does_not_return_raises_after_the_timeout(workspace) -> None:
    never = threading.Event()
    with pytest.raises(errors.RequestTimeoutError, match=r"within 0\.3 s.*Merging again is safe"):
        call_agents(never.wait, target="a dataset", host=workspace.url, timeout=0.3)
    never.set()
