"""Tables read from S3 (moto's) with credentials that the catalog vends."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator

import boto3
import pytest
from hypothesis import HealthCheck, given, settings

from langchain_dbx_eval import EvalDataset, errors
from langchain_dbx_eval.datasets.databricks.credential_vending import storage_options
from langchain_dbx_eval.datasets.delta.staging import arrow_rows
from langchain_dbx_eval.datasets.schema.row_codec import encode_all
from langchain_dbx_eval.testing import LocalWorkspace, Storage
from tests.datasets.record_strategies import A_TABLE_FULL

NAME = "main.default.questions"


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    # A process of its own: deltalake keeps the interpreter's lock while it waits for some answers,
    # so that a server in a thread could never give them.
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    for _ in range(200):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            break
        time.sleep(0.1)
    client = boto3.client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="root",
        aws_secret_access_key="root",
    )
    client.create_bucket(Bucket="lake")
    yield url
    server.terminate()
    server.wait(timeout=10)


@pytest.fixture
def workspace(s3: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalWorkspace]:
    # deltalake's own settings of where S3 is; the credentials come from the workspace alone.
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3)
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with LocalWorkspace() as running:
        yield running


@pytest.fixture
def storage(request: pytest.FixtureRequest) -> Storage:
    options = {
        "AWS_ACCESS_KEY_ID": "ASIAVENDED",
        "AWS_SECRET_ACCESS_KEY": "vended-secret",
        "AWS_SESSION_TOKEN": "vended-token",
        "AWS_REGION": "us-east-1",
    }
    return Storage(f"s3://lake/{request.node.name}", options)


def test_a_table_is_read_from_its_storage(workspace, storage) -> None:
    workspace.add_table(NAME, [{"request": "a"}, {"request": "b"}], storage=storage)
    dataset = EvalDataset.load(NAME)
    assert sorted(record.request for record in dataset) == ["a", "b"]
    assert (dataset.backend, dataset.version, dataset.name) == ("delta", 0, NAME)
    assert (dataset.created_by, dataset.source.startswith("storage of")) == (
        "you@example.com",
        True,
    )


def test_reading_asks_for_a_right_to_read_only_and_writes_nothing(workspace, storage, s3) -> None:
    workspace.add_table(NAME, [{"request": "a"}], storage=storage)
    client = boto3.client(
        "s3",
        endpoint_url=s3,
        region_name="us-east-1",
        aws_access_key_id="x",
        aws_secret_access_key="x",
    )

    def objects() -> list[tuple]:
        listed = client.list_objects_v2(Bucket="lake")["Contents"]
        return [(entry["Key"], entry["LastModified"], entry["ETag"]) for entry in listed]

    before = objects()
    dataset = EvalDataset.load(NAME, backend="delta")
    assert (len(dataset), len(dataset.digest)) == (1, 16)
    assert objects() == before
    [asked] = [r for r in workspace.requests if "temporary" in r.path]
    assert asked.body["operation"] == "READ"
    with pytest.raises(errors.ConfigurationError, match="cannot be added to"):
        dataset.merge_records([{"request": "b"}])


def test_no_credential_shows(workspace, storage) -> None:
    workspace.add_table(NAME, [{"request": "a"}], storage=storage)
    dataset = EvalDataset.load(NAME)
    shown = f"{dataset!r} {dataset._repr_html_()} {vars(dataset)} {storage!r}"
    assert "vended-" not in shown


def test_without_external_access_the_other_way_is_told(workspace) -> None:
    workspace.add_table(NAME, [{"request": "a"}])
    with pytest.raises(errors.PermissionDeniedError, match=r"EXTERNAL USE SCHEMA.*warehouse_id="):
        EvalDataset.load(NAME)


def test_a_table_that_is_not_there_is_told(workspace) -> None:
    with pytest.raises(errors.NotFoundError, match=r"main\.default\.none"):
        EvalDataset.load("main.default.none")


def test_what_was_created_here_is_found_here_again(workspace, three) -> None:
    assert EvalDataset.create(NAME, three).backend == "local"
    assert EvalDataset.load(NAME).backend == "local"


def test_fresh_processes_do_not_hang(workspace, storage) -> None:
    workspace.add_table(NAME, [{"request": "a"}], storage=storage)
    program = f"from langchain_dbx_eval import EvalDataset; print(len(EvalDataset.load({NAME!r})))"
    command = [sys.executable, "-c", program]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for process in both:
        said, _ = process.communicate(timeout=60)
        assert (process.returncode, said.strip()) == (0, "1")


@pytest.mark.parametrize(
    ("vended", "options"),
    [
        (
            {
                "aws_temp_credentials": {
                    "access_key_id": "k",
                    "secret_access_key": "s",
                    "session_token": "t",
                }
            },
            {
                "AWS_ACCESS_KEY_ID": "k",
                "AWS_SECRET_ACCESS_KEY": "s",
                "AWS_SESSION_TOKEN": "t",
                "AWS_REGION": "eu-north-1",
            },
        ),
        (
            {"azure_user_delegation_sas": {"sas_token": "?sv=2023&sig=a%2Fb"}},
            {"AZURE_STORAGE_SAS_TOKEN": "sv=2023&sig=a%2Fb"},
        ),
        ({"azure_aad": {"aad_token": "entra"}}, {"AZURE_STORAGE_TOKEN": "entra"}),
        ({"gcp_oauth_token": {"oauth_token": "ya29"}}, None),
        ({"r2_temp_credentials": {"access_key_id": "k"}}, None),
        ({}, None),
    ],
)
def test_what_is_vended_is_given_to_deltalake_under_its_names(vended, options) -> None:
    from databricks.sdk.service.catalog import GenerateTemporaryTableCredentialResponse

    credentials = GenerateTemporaryTableCredentialResponse.from_dict(vended)
    assert storage_options(credentials, lambda: "eu-north-1") == options


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"AZURE_STORAGE_SAS_TOKEN": "sv=2023&sig=a%2Fb"}, "?sv=2023&sig=a%2Fb HTTP/1.1"),
        ({"AZURE_STORAGE_TOKEN": "entra"}, "authorization: Bearer entra"),
    ],
)
def test_deltalake_asks_azure_with_what_it_is_given(options, told) -> None:
    """A store that hangs up at once, so that only what it was asked counts."""
    with socket.create_server(("127.0.0.1", 0)) as store:
        store.settimeout(60)
        url = f"http://127.0.0.1:{store.getsockname()[1]}"
        settings = {**options, "AZURE_STORAGE_ENDPOINT": url, "AZURE_ALLOW_HTTP": "true"}
        program = (
            "import deltalake; deltalake.DeltaTable('abfss://box@acc.dfs.core.windows.net/t', "
            f"storage_options={settings!r})"
        )
        with subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL) as asking:
            connection, _ = store.accept()
            with connection:
                asked = connection.recv(4_096).decode()
            asking.kill()
    assert asked.startswith("GET /box/t/_delta_log/")
    assert told in asked


@settings(max_examples=2, deadline=None, suppress_health_check=list(HealthCheck))
@given(given_records=A_TABLE_FULL)
def test_storage_keeps_records_as_they_are(workspace, storage, given_records) -> None:
    """Many records at once in one table, as a table is what takes its time here."""
    rows = list(encode_all(given_records).values())
    name = f"main.default.t{uuid.uuid4().hex}"
    workspace.add_table(name, arrow_rows(rows), storage=storage)
    assert list(EvalDataset.load(name)) == given_records
