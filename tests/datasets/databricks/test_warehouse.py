"""Tables of Unity Catalog by a SQL warehouse: complete results, or an error within a deadline."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pytest

from langchain_dbx_eval import EvalDataset, errors
from langchain_dbx_eval.datasets.databricks import row_upload
from langchain_dbx_eval.testing import LocalWorkspace
from langchain_dbx_eval.testing.errors import ApiError
from langchain_dbx_eval.testing.faults import (
    Denied,
    ExpiredLink,
    FailedStatement,
    LostAnswer,
    LostChunk,
    SlowStatement,
    Unavailable,
)

NAME = "main.default.questions"
WRITES = ("CREATE", "MERGE", "INSERT", "UPDATE", "DELETE", "OVERWRITE", "OPTIMIZE")


@pytest.fixture
def workspace(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalWorkspace]:
    with LocalWorkspace() as running:
        running.add_warehouse("wh", chunk_rows=2)
        monkeypatch.setenv("DATABRICKS_WAREHOUSE_ID", "wh")
        yield running


def statements(workspace: LocalWorkspace) -> list[str]:
    return [
        request.body["statement"]
        for request in workspace.requests
        if request.path.startswith("/api/2.0/sql/statements") and request.method == "POST"
        if isinstance(request.body, dict)
    ]


def test_a_created_table_is_loaded_and_merged_into(workspace: LocalWorkspace, three) -> None:
    created = EvalDataset.create(NAME, three)
    assert ([r.expected_response for r in created], created.backend) == (
        ["1", "2", "3"],
        "warehouse",
    )
    grown = EvalDataset.load(NAME).merge_records(
        [{"request": "one?", "expected_facts": ["f"]}, {"request": "four?", "topic": "한'`;--"}]
    )
    first, *_, last = grown
    assert (first.expected_response, first.expected_facts) == ("1", ["f"])
    assert (last.request, last.metadata) == ("four?", {"topic": "한'`;--"})
    assert (grown.version, len(created), len(grown)) == (2, 3, 4)
    assert grown.digest == EvalDataset.load(list(grown)).digest


def test_merging_twice_writes_once(workspace: LocalWorkspace, three) -> None:
    dataset = EvalDataset.create(NAME)
    for _ in range(2):
        dataset.merge_records(three)
    assert (dataset.version, len(dataset)) == (1, 3)
    assert sum(sql.startswith("MERGE") for sql in statements(workspace)) == 1


def test_records_are_deleted_in_batches_and_ids_are_parameters(workspace, monkeypatch) -> None:
    monkeypatch.setattr("langchain_dbx_eval.datasets.databricks.sql_table._MAX_DELETED_ROWS", 1)
    dataset = EvalDataset.create(NAME, [{"request": f"{n}?"} for n in range(5)])
    ids = [*dataset.to_df()["dataset_record_id"], "x') OR true --"]
    assert dataset.delete_records(ids[1:]) == 4
    assert [record.request for record in dataset] == ["0?"]
    deletions = [sql for sql in statements(workspace) if "THEN DELETE" in sql]
    # The id that the table does not contain needs no statement.
    assert (len(deletions), any("true" in sql for sql in deletions)) == (4, False)


def test_deleting_a_table_succeeds_if_the_response_is_lost(workspace, three) -> None:
    dataset = EvalDataset.create(NAME, three)
    workspace.inject_fault("wh", LostAnswer())
    dataset._opened.drop()
    assert [sql.split()[0] for sql in statements(workspace)][-2:] == ["DROP", "DROP"]
    with pytest.raises(errors.NotFoundError):
        EvalDataset.load(NAME)


def test_values_are_parameters_and_never_sql(workspace: LocalWorkspace) -> None:
    evil = "'; DROP TABLE x; --"
    dataset = EvalDataset.create(NAME, [{"request": evil}])
    assert [record.request for record in dataset] == [evil]
    assert not any(evil in sql for sql in statements(workspace))


def test_reading_sends_no_statement_that_writes(workspace: LocalWorkspace, three) -> None:
    EvalDataset.create(NAME, three)
    workspace.clear_requests()
    dataset = EvalDataset.load(NAME)
    assert (len(dataset), len(list(dataset)), len(dataset.digest)) == (3, 3, 16)
    assert (dataset.dataset_id is not None, dataset.created_by) == (True, "you@example.com")
    dataset._repr_html_()
    sent = statements(workspace)
    assert sent
    assert not [sql for sql in sent if any(word in sql.upper().split() for word in WRITES)]
    others = {r.path for r in workspace.requests if r.method not in ("GET", "POST")}
    assert others == set()


def test_no_credentials_are_sent_to_the_storage_of_results(
    workspace: LocalWorkspace, tmp_path, three
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password secret\n")
    (tmp_path / ".netrc").chmod(0o600)
    EvalDataset.create(NAME, three)
    list(EvalDataset.load(NAME))
    fetched = [r for r in workspace.requests if r.path.startswith("/local-cloud-storage")]
    assert fetched
    assert not [r for r in fetched if "Authorization" in r.headers]


def test_a_dataset_stays_at_its_version(workspace: LocalWorkspace, three) -> None:
    EvalDataset.create(NAME, three)
    before = EvalDataset.load(NAME)
    EvalDataset.load(NAME).merge_records([{"request": "four?"}])
    assert (len(list(before)), len(EvalDataset.load(NAME))) == (3, 4)
    assert len(EvalDataset.load(NAME, version=before.version)) == 3


def test_a_table_with_columns_of_its_own_is_read(workspace: LocalWorkspace) -> None:
    workspace.add_table(
        NAME,
        pa.table(
            {
                "request": ["a"],
                "expected_retrieved_context": [[{"doc_uri": "d", "content": "c"}]],
                "n": [5],
            }
        ),
    )
    [record] = EvalDataset.load(NAME)
    assert record.expected_retrieved_context == [{"doc_uri": "d", "content": "c"}]
    assert record.metadata == {"n": 5}
    with pytest.raises(errors.SchemaError, match="another schema"):
        EvalDataset.load(NAME).merge_records([{"request": "b"}])


def test_a_table_with_the_schema_of_databricks_is_read(workspace: LocalWorkspace) -> None:
    workspace.add_table(
        NAME,
        [
            {
                "dataset_record_id": "1",
                "inputs": '{"question": "q"}',
                "expectations": '{"expected_response": "e"}',
                "source": {"human": {"user_name": "me"}},
                "create_time": "then",
                "created_by": "me",
            }
        ],
    )
    [record] = EvalDataset.load(NAME)
    assert (record.request, record.expected_response) == ({"question": "q"}, "e")
    assert record.metadata == {}


def test_existing_and_missing_tables_raise(workspace: LocalWorkspace, three) -> None:
    EvalDataset.create(NAME, three)
    with pytest.raises(errors.AlreadyExistsError):
        EvalDataset.create(NAME)
    assert len(EvalDataset.get_or_create(NAME)) == 3
    with pytest.raises(errors.NotFoundError, match=r"main\.default\.none"):
        EvalDataset.load("main.default.none")
    workspace.add_table("main.default.sales", [{"amount": 1}])
    with pytest.raises(errors.SchemaError, match="amount"):
        EvalDataset.get_or_create("main.default.sales")


def test_a_missing_table_starts_no_warehouse(workspace: LocalWorkspace) -> None:
    workspace.add_warehouse("asleep", state="STOPPED")
    with pytest.raises(errors.NotFoundError):
        EvalDataset.load("main.default.none", warehouse_id="asleep")
    assert not [r for r in workspace.requests if r.path.endswith("/start")]


def test_a_stopped_warehouse_is_started_and_logged(
    workspace: LocalWorkspace, three, caplog
) -> None:
    workspace.add_table(NAME, three[:2])
    workspace.add_warehouse("asleep", state="STOPPED", start_seconds=0.5)
    assert len(EvalDataset.load(NAME, warehouse_id="asleep", timeout=30)) == 2
    assert "'asleep' (asleep) is STOPPED: starting it" in caplog.text
    assert "is running" in caplog.text


def test_a_warehouse_that_never_starts_raises_within_the_deadline(
    workspace: LocalWorkspace,
) -> None:
    workspace.add_table(NAME, [{"request": "a"}])
    workspace.add_warehouse("never", state="STOPPED", start_seconds=None)
    with pytest.raises(errors.WarehouseError, match="still STARTING after 3 s") as caught:
        EvalDataset.load(NAME, warehouse_id="never", timeout=3)
    assert caught.value.state == "STARTING"


def test_a_warehouse_that_cannot_start_raises_with_its_reason(workspace: LocalWorkspace) -> None:
    workspace.add_table(NAME, [{"request": "a"}])
    workspace.add_warehouse(
        "full", state="STOPPED", start_seconds=0.5, start_failure="quota of the region exceeded"
    )
    with pytest.raises(errors.WarehouseError, match="quota of the region exceeded") as caught:
        EvalDataset.load(NAME, warehouse_id="full", timeout=60)
    assert (caught.value.state, caught.value.warehouse_id) == ("STOPPED", "full")


def test_a_deleted_or_missing_warehouse_raises_immediately(workspace: LocalWorkspace) -> None:
    workspace.add_table(NAME, [{"request": "a"}])
    workspace.add_warehouse("old", state="DELETED")
    with pytest.raises(errors.WarehouseError, match="DELETED"):
        EvalDataset.load(NAME, warehouse_id="old")
    with pytest.raises(errors.NotFoundError, match="warehouses list"):
        EvalDataset.load(NAME, warehouse_id="none")


def test_a_missing_warehouse_id_raises_with_its_location(
    workspace: LocalWorkspace, monkeypatch
) -> None:
    monkeypatch.delenv("DATABRICKS_WAREHOUSE_ID")
    with pytest.raises(errors.ConfigurationError, match="SQL Warehouses"):
        EvalDataset.load(NAME, backend="warehouse")


def test_a_failed_statement_raises_with_its_id(workspace: LocalWorkspace) -> None:
    workspace.add_table(NAME, [{"request": "a"}])
    dataset = EvalDataset.load(NAME)
    workspace.inject_fault("wh", FailedStatement("[ARITHMETIC_OVERFLOW] too much", "22003"))
    with pytest.raises(errors.WarehouseError, match="too much") as caught:
        list(dataset)
    assert caught.value.statement_id in str(caught.value)
    assert (caught.value.state, caught.value.error_code) == ("FAILED", "ARITHMETIC_OVERFLOW")


def test_a_statement_without_permission_raises_a_permission_error(
    workspace: LocalWorkspace,
) -> None:
    workspace.add_table(NAME, [{"request": "a"}])
    workspace.inject_fault("wh", FailedStatement("[INSUFFICIENT_PERMISSIONS] no SELECT", "42501"))
    with pytest.raises(errors.PermissionDeniedError, match="no SELECT"):
        EvalDataset.load(NAME)


def test_a_statement_that_exceeds_the_timeout_is_canceled(workspace: LocalWorkspace) -> None:
    workspace.add_table(NAME, [{"request": "a"}])
    dataset = EvalDataset.load(NAME, timeout=3)
    workspace.inject_fault("wh", SlowStatement(60))
    with pytest.raises(errors.WarehouseError, match=r"within 3 s.*canceled") as caught:
        list(dataset)
    assert caught.value.state == "RUNNING"
    assert [r.path for r in workspace.requests if r.path.endswith("/cancel")]


def test_a_workspace_that_is_temporarily_unavailable_is_retried(
    workspace: LocalWorkspace,
) -> None:
    workspace.add_table(NAME, [{"request": "a"}])
    workspace.inject_fault("wh", Unavailable())
    assert len(EvalDataset.load(NAME)) == 1


def test_a_workspace_that_stays_unavailable_raises_within_the_deadline(
    workspace: LocalWorkspace,
) -> None:
    workspace.add_table(NAME, [{"request": "a"}])
    workspace.inject_fault("wh", Unavailable(), times=1_000)
    # The SDK's default is 300 s, longer than a test may take.
    with pytest.raises(errors.DatabricksError, match="in time"):
        EvalDataset.load(NAME, timeout=2)


def test_a_host_that_cannot_be_resolved_raises_within_the_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DATABRICKS_HOST", "https://nowhere.invalid")
    monkeypatch.setenv("DATABRICKS_TOKEN", "t")
    # By default, the SDK retries for 300 s when it is configured, and once more for the request.
    with pytest.raises(errors.DatabricksError, match="in time"):
        EvalDataset.load(NAME, timeout=1)


@pytest.mark.parametrize("fault", [ExpiredLink(), LostChunk()])
def test_an_expired_link_is_requested_again(workspace: LocalWorkspace, fault) -> None:
    workspace.add_table(NAME, [{"request": f"q{n}"} for n in range(7)])
    dataset = EvalDataset.load(NAME)
    workspace.inject_fault("wh", fault, times=2)
    assert sorted(record.request for record in dataset) == [f"q{n}" for n in range(7)]


def test_a_missing_chunk_raises_instead_of_returning_a_part(
    workspace: LocalWorkspace,
) -> None:
    workspace.add_table(NAME, [{"request": f"q{n}"} for n in range(7)])
    dataset = EvalDataset.load(NAME)
    workspace.inject_fault("wh", LostChunk(), times=100)
    with pytest.raises(errors.InvalidResponseError, match=r"chunk 0.*404") as caught:
        list(dataset)
    assert "local-cloud-storage" not in str(caught.value)


def test_a_merge_whose_response_is_lost_is_applied_once(workspace: LocalWorkspace, three) -> None:
    dataset = EvalDataset.create(NAME)
    workspace.inject_fault("wh", LostAnswer())
    dataset.merge_records(three)
    assert sorted(str(r.request) for r in dataset) == ["one?", "two?", "{'question': 'three?'}"]


def test_many_records_are_merged_in_batches(workspace: LocalWorkspace, monkeypatch) -> None:
    monkeypatch.setattr(row_upload, "_PARAMETER_BYTES", 2_000)
    workspace.add_warehouse("big", chunk_rows=10)
    rows = [{"request": f"q{n}", "expected_response": "x" * 100} for n in range(12)]
    dataset = EvalDataset.create(NAME, rows, warehouse_id="big")
    assert sum(sql.startswith("MERGE") for sql in statements(workspace)) > 1
    assert len(dataset) == 12


def test_a_given_workspace_client_is_used_and_not_modified(
    workspace: LocalWorkspace, monkeypatch
) -> None:
    from databricks.sdk import WorkspaceClient

    client = WorkspaceClient(host=workspace.url, token=workspace.token)
    for name in ("DATABRICKS_HOST", "DATABRICKS_TOKEN"):
        monkeypatch.delenv(name)
    workspace.add_table(NAME, [{"request": "a"}])
    assert len(EvalDataset.load(NAME, workspace_client=client)) == 1
    assert client.config.retry_timeout_seconds is None


def test_a_missing_login_raises(monkeypatch) -> None:
    with pytest.raises(errors.AuthenticationError, match="DATABRICKS_HOST"):
        EvalDataset.load(NAME, warehouse_id="wh")


def test_the_error_of_a_missing_table_mentions_the_local_catalog(
    workspace: LocalWorkspace, three
) -> None:
    EvalDataset.create(NAME, three, backend="local")
    with pytest.raises(errors.NotFoundError, match="backend='local'"):
        EvalDataset.load(NAME)
    assert len(EvalDataset.load(NAME, backend="local")) == 3


def test_an_unsupported_backend_raises_with_the_supported_ones(workspace: LocalWorkspace) -> None:
    with pytest.raises(errors.ConfigurationError, match="'warehouse'"):
        EvalDataset.load(NAME, backend="pigeon")
    with pytest.raises(errors.ConfigurationError, match="'local'"):
        EvalDataset.create(NAME, backend="delta")


VOLUME = "/Volumes/main/default/uploads"


@pytest.fixture
def volume(workspace: LocalWorkspace, monkeypatch: pytest.MonkeyPatch):
    """The folder of a volume, through which more than 2 kB are uploaded."""
    monkeypatch.setattr(row_upload, "_PARAMETER_BYTES", 2_000)
    return workspace.add_volume("main.default.uploads")


def long_rows(count: int = 12) -> list[dict]:
    return [{"request": f"한{n}'`", "expected_response": "x" * 500} for n in range(count)]


def test_many_records_are_uploaded_through_a_volume_and_deleted(workspace, volume) -> None:
    dataset = EvalDataset.create(NAME, long_rows(), volume=VOLUME)
    changed = [{**row, "expected_response": "y" * 500} for row in long_rows(10)]
    for _ in range(2):
        dataset.merge_records([*changed, {"request": "new"}])
    assert sorted(dataset, key=lambda r: r.request) == sorted(
        EvalDataset.load([*changed, *long_rows()[10:], {"request": "new"}]), key=lambda r: r.request
    )
    merges = [sql for sql in statements(workspace) if sql.startswith("MERGE")]
    assert len(merges) == 2
    assert all("read_files('/Volumes/main/default/uploads/langchain-" in sql for sql in merges)
    assert list(volume.iterdir()) == []
    assert sum(r.method == "PUT" for r in workspace.requests) == 5


def test_a_quote_in_the_name_of_a_volume_is_part_of_the_name(workspace, volume) -> None:
    workspace.add_volume("main.default.up')--")
    dataset = EvalDataset.create(NAME, long_rows(), volume="main.default.`up')--`")
    assert len(dataset) == 12
    assert any(r"read_files('/Volumes/main/default/up\')--/" in s for s in statements(workspace))


def test_few_records_are_not_uploaded_through_the_volume(workspace, volume) -> None:
    dataset = EvalDataset.create(NAME, volume="main.default.uploads")
    dataset.merge_records([{"request": "a"}])
    assert not [r for r in workspace.requests if r.method == "PUT"]


def test_an_uploaded_file_is_deleted_after_a_failure(workspace, volume, monkeypatch) -> None:
    monkeypatch.setenv("DBX_EVAL_VOLUME", VOLUME)
    dataset = EvalDataset.create(NAME)
    workspace.inject_fault("wh", FailedStatement("[OUT_OF_MEMORY] too much", "53200"))
    with pytest.raises(errors.WarehouseError, match="too much"):
        dataset.merge_records(long_rows())
    assert any(r.method == "PUT" for r in workspace.requests)
    assert list(volume.iterdir()) == []
    workspace.inject_fault("wh", LostAnswer())
    assert len(dataset.merge_records(long_rows())) == 12


def test_a_file_that_cannot_be_deleted_is_logged_and_the_merge_succeeds(
    workspace, volume, caplog
) -> None:
    dataset = EvalDataset.create(NAME, volume=VOLUME)
    delete = workspace._state.lakehouse.volumes.delete

    def refuse(path: str) -> None:
        raise ApiError(403, "PERMISSION_DENIED", "no WRITE VOLUME")

    workspace._state.lakehouse.volumes.delete = refuse
    assert len(dataset.merge_records(long_rows())) == 12
    workspace._state.lakehouse.volumes.delete = delete
    assert "can be deleted by hand" in caplog.text


def test_a_volume_that_is_missing_or_not_writable_raises(workspace, volume) -> None:
    dataset = EvalDataset.create(NAME, volume="/Volumes/main/default/none/folder")
    with pytest.raises(errors.NotFoundError, match="CREATE VOLUME"):
        dataset.merge_records(long_rows())
    dataset = EvalDataset.load(NAME, volume=VOLUME)
    workspace.inject_fault("main.default.uploads", Denied("User has no WRITE VOLUME"))
    with pytest.raises(errors.PermissionDeniedError, match="READ VOLUME and WRITE VOLUME"):
        dataset.merge_records(long_rows())
    assert len(EvalDataset.load(NAME)) == 0


@pytest.mark.parametrize(
    "name", ["uploads", "/Volumes/main/default", "/tmp/x", "/Volumes/a/b/c/../d", "/Volumes/a/b/c'"]
)
def test_an_invalid_volume_raises_before_any_statement(workspace, name: str) -> None:
    with pytest.raises(errors.ConfigurationError, match=r"volume|three-level"):
        EvalDataset.create(NAME, volume=name)
    assert not [r for r in workspace.requests if r.path.startswith("/api/2.0/sql")]


def test_a_record_that_exceeds_a_statement_requires_a_volume(workspace, monkeypatch) -> None:
    monkeypatch.setattr(row_upload, "_MAX_STATEMENT_BYTES", 1_000)
    dataset = EvalDataset.create(NAME)
    with pytest.raises(errors.SchemaError, match="DBX_EVAL_VOLUME"):
        dataset.merge_records(long_rows(3))
    workspace.add_volume("main.default.uploads")
    monkeypatch.setattr(row_upload, "_PARAMETER_BYTES", 500)
    assert len(EvalDataset.load(NAME, volume=VOLUME).merge_records(long_rows(3))) == 3
