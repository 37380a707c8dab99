"""Tables read from emulated S3 (moto) with vended credentials."""

from __future__ import annotations

import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from hypothesis import given, settings

from langchain_dbx_eval import EvalDataset, errors
from langchain_dbx_eval.datasets.databricks.credential_vending import storage_options
from langchain_dbx_eval.datasets.delta.staging import to_arrow
from langchain_dbx_eval.datasets.schema.row_codec import encode_all, merge_by_key
from langchain_dbx_eval.testing import LocalWorkspace, Storage
from tests.datasets.record_strategies import FULL_TABLE

NAME = "main.default.questions"
S3_SERVER = """
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from waitress import create_server
app = DomainDispatcherApplication(create_backend_app)
server = create_server(app, host="127.0.0.1", port=0, threads=8)
print(server.effective_port, flush=True)
server.run()
"""


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    # In a process of its own: deltalake holds the interpreter's lock while it waits for some
    # responses, which a server in a thread could then never send.
    command = [sys.executable, "-c", S3_SERVER]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        try:
            url = f"http://127.0.0.1:{int(server.stdout.readline())}"
            s3_client(url).create_bucket(Bucket="lake")
            yield url
        finally:
            server.kill()


def s3_client(url: str) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="root",
        aws_secret_access_key="root",
    )


@pytest.fixture
def workspace(s3: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalWorkspace]:
    # deltalake's settings for the address of S3; the credentials are only vended.
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


def test_reading_requests_read_credentials_only_and_writes_nothing(workspace, storage, s3) -> None:
    workspace.add_table(NAME, [{"request": "a"}], storage=storage)

    def objects() -> list[tuple]:
        listed = s3_client(s3).list_objects_v2(Bucket="lake")["Contents"]
        return [(entry["Key"], entry["LastModified"], entry["ETag"]) for entry in listed]

    before = objects()
    dataset = EvalDataset.load(NAME, backend="delta")
    assert (len(dataset), len(dataset.digest)) == (1, 16)
    assert objects() == before
    [vended] = [r for r in workspace.requests if "temporary" in r.path]
    assert vended.body["operation"] == "READ"
    with pytest.raises(errors.ConfigurationError, match="cannot be merged into"):
        dataset.merge_records([{"request": "b"}])


def test_no_representation_contains_credentials(workspace, storage) -> None:
    workspace.add_table(NAME, [{"request": "a"}], storage=storage)
    dataset = EvalDataset.load(NAME)
    text = f"{dataset!r} {dataset._repr_html_()} {vars(dataset)} {storage!r}"
    assert "vended-" not in text


def test_missing_external_access_raises_with_the_alternative(workspace) -> None:
    workspace.add_table(NAME, [{"request": "a"}])
    with pytest.raises(errors.PermissionDeniedError, match=r"EXTERNAL USE SCHEMA.*warehouse_id="):
        EvalDataset.load(NAME)


def test_a_missing_table_raises(workspace) -> None:
    with pytest.raises(errors.NotFoundError, match=r"main\.default\.none"):
        EvalDataset.load("main.default.none")


def test_a_dataset_created_in_the_local_catalog_is_loaded_from_there(workspace, three) -> None:
    assert EvalDataset.create(NAME, three).backend == "local"
    assert EvalDataset.load(NAME).backend == "local"


@pytest.mark.timeout(360)
def test_new_processes_do_not_deadlock(workspace, storage) -> None:
    workspace.add_table(NAME, [{"request": "a"}], storage=storage)
    program = f"from langchain_dbx_eval import EvalDataset; print(len(EvalDataset.load({NAME!r})))"
    command = [sys.executable, "-c", program]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        for process in processes:
            output, _ = process.communicate(timeout=300)
            assert (process.returncode, output.strip()) == (0, "1")
    finally:
        for process in processes:
            process.kill()


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
def test_vended_credentials_are_converted_to_storage_options(vended, options) -> None:
    from databricks.sdk.service.catalog import GenerateTemporaryTableCredentialResponse

    credentials = GenerateTemporaryTableCredentialResponse.from_dict(vended)
    assert storage_options(credentials, lambda: "eu-north-1") == options


@pytest.mark.parametrize(
    ("options", "header"),
    [
        ({"AZURE_STORAGE_SAS_TOKEN": "sv=2023&sig=a%2Fb"}, "?sv=2023&sig=a%2Fb HTTP/1.1"),
        ({"AZURE_STORAGE_TOKEN": "entra"}, "authorization: Bearer entra"),
    ],
)
def test_deltalake_sends_the_storage_options_to_azure(options, header) -> None:
    """The store closes the connection after the first request, which is what is checked."""
    with socket.create_server(("127.0.0.1", 0)) as store:
        store.settimeout(60)
        url = f"http://127.0.0.1:{store.getsockname()[1]}"
        settings = {**options, "AZURE_STORAGE_ENDPOINT": url, "AZURE_ALLOW_HTTP": "true"}
        program = (
            "import deltalake; deltalake.DeltaTable('abfss://box@acc.dfs.core.windows.net/t', "
            f"storage_options={settings!r})"
        )
        with subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL) as reader:
            try:
                connection, _ = store.accept()
                with connection, connection.makefile("rb") as lines:
                    request = b"".join(iter(lines.readline, b"\r\n")).decode()
            finally:
                reader.kill()
    assert request.startswith("GET /box/t/_delta_log/")
    assert header in request


@settings(max_examples=2)
@given(given_records=FULL_TABLE)
def test_storage_restores_records_unchanged(workspace, storage, given_records) -> None:
    rows = list(merge_by_key(encode_all(given_records)).values())
    name = f"main.default.t{uuid.uuid4().hex}"
    workspace.add_table(name, to_arrow(rows), storage=storage)
    assert list(EvalDataset.load(name)) == given_records
