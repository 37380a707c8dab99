"""Routes of SQL warehouses, Unity Catalog, managed datasets and files in volumes."""

from __future__ import annotations

import time
import zlib
from typing import Any

from flask import Flask, Response, request

from langchain_dbx_eval.testing.errors import ApiError, bad_request
from langchain_dbx_eval.testing.faults import Denied, FaultQueue
from langchain_dbx_eval.testing.http.json_body import json_body, json_object
from langchain_dbx_eval.testing.lakehouse.managed_datasets import ManagedDatasets
from langchain_dbx_eval.testing.lakehouse.statement_api import DOWNLOAD_PATH, StatementApi
from langchain_dbx_eval.testing.lakehouse.tables import Lakehouse, Table
from langchain_dbx_eval.testing.state import WorkspaceState

__all__ = ["add_lakehouse_routes"]

_CREDENTIAL_SECONDS = 3_600
_CREDENTIALS = {
    "access_key_id": "AWS_ACCESS_KEY_ID",
    "secret_access_key": "AWS_SECRET_ACCESS_KEY",
    "session_token": "AWS_SESSION_TOKEN",
}
# The service rejects larger requests, according to databricks-agents 1.13.
_MAX_BATCH_SIZE = 2_000


def add_lakehouse_routes(app: Flask, state: WorkspaceState) -> None:
    """Add the routes of the lakehouse.

    Args:
        app: The application.
        state: The workspace.
    """
    api = StatementApi(state.lakehouse, state.faults)
    _add_warehouses(app, state.lakehouse, api)
    _add_statements(app, api)
    _add_unity_catalog(app, state.lakehouse)
    _add_managed_datasets(app, ManagedDatasets(state.lakehouse, state.faults))
    _add_files(app, state.lakehouse, state.faults)


def _add_warehouses(app: Flask, lakehouse: Lakehouse, api: StatementApi) -> None:
    @app.get("/api/2.0/sql/warehouses")
    def list_warehouses() -> dict[str, Any]:
        return {"warehouses": [one.describe() for one in list(lakehouse.warehouses.values())]}

    @app.get("/api/2.0/sql/warehouses/<warehouse_id>")
    def get_warehouse(warehouse_id: str) -> dict[str, Any]:
        return api.find_warehouse(warehouse_id).describe()

    @app.post("/api/2.0/sql/warehouses/<warehouse_id>/start")
    def start_warehouse(warehouse_id: str) -> dict[str, Any]:
        api.find_warehouse(warehouse_id).start()
        return {}


def _add_statements(app: Flask, api: StatementApi) -> None:
    base = "/api/2.0/sql/statements"

    @app.post(base, strict_slashes=False)
    def execute_statement() -> dict[str, Any]:
        return api.submit(json_object(request), request.host_url)

    @app.get(f"{base}/<statement_id>")
    def get_statement(statement_id: str) -> dict[str, Any]:
        return api.get(statement_id, request.host_url)

    @app.get(f"{base}/<statement_id>/result/chunks/<int:index>")
    def get_chunk(statement_id: str, index: int) -> dict[str, Any]:
        return api.chunk(statement_id, index, request.host_url)

    @app.post(f"{base}/<statement_id>/cancel")
    def cancel(statement_id: str) -> dict[str, Any]:
        api.cancel(statement_id)
        return {}

    @app.get(f"{DOWNLOAD_PATH}<token>")
    def download(token: str) -> Response:
        if "Authorization" in request.headers:
            # S3 rejects a signed link together with an authorization header.
            raise ApiError(400, "InvalidArgument", "Only one auth mechanism allowed")
        return Response(api.download(token), mimetype="application/octet-stream")


def _add_unity_catalog(app: Flask, lakehouse: Lakehouse) -> None:
    @app.get("/api/2.1/unity-catalog/tables/<name>")
    def get_table(name: str) -> dict[str, Any]:
        if name.lower() not in lakehouse.tables:
            raise ApiError(404, "TABLE_DOES_NOT_EXIST", f"Table '{name}' does not exist.")
        return lakehouse.tables[name.lower()].describe()

    @app.get("/api/2.1/unity-catalog/metastore_summary")
    def metastore() -> dict[str, Any]:
        return {"metastore_id": "local", "cloud": "aws", "region": "us-east-1"}

    @app.post("/api/2.0/unity-catalog/temporary-table-credentials")
    def vend_credentials() -> dict[str, Any]:
        body = json_body(request) or {}
        for table in list(lakehouse.tables.values()):
            if table.table_id == body.get("table_id"):
                return _credentials(table)
        raise ApiError(404, "TABLE_DOES_NOT_EXIST", "There is no table of this id.")


def _credentials(table: Table) -> dict[str, Any]:
    options = table.storage.options
    vended = {name: options[key] for name, key in _CREDENTIALS.items() if key in options}
    if not vended:
        message = "EXTERNAL USE SCHEMA is not granted, or the metastore allows no external access."
        raise ApiError(403, "PERMISSION_DENIED", message)
    return {
        "aws_temp_credentials": vended,
        "expiration_time": int((time.time() + _CREDENTIAL_SECONDS) * 1000),
        "url": table.location,
    }


def _add_managed_datasets(app: Flask, service: ManagedDatasets) -> None:
    """Add the routes of the service, and those of the MLflow experiments that its client reads."""
    base = "/api/2.0/managed-evals/datasets"

    @app.get("/api/2.0/mlflow/experiments/get")
    def get_experiment() -> dict[str, Any]:
        return _experiment(request.args.get("experiment_id", ""))

    @app.get("/api/2.0/mlflow/experiments/get-by-name")
    def get_experiment_by_name() -> dict[str, Any]:
        name = request.args.get("experiment_name", "")
        return _experiment(str(zlib.crc32(name.encode())), name)

    @app.post(base)
    def create_dataset() -> dict[str, Any]:
        return service.create(str(json_object(request).get("name")))

    @app.get(f"{base}/<dataset_id>")
    def get_dataset(dataset_id: str) -> dict[str, Any]:
        return service.get(dataset_id)

    @app.get(f"{base}/<dataset_id>/records")
    def list_records(dataset_id: str) -> dict[str, Any]:
        size = request.args.get("page_size", 500, int)
        return service.records(dataset_id, size, request.args.get("page_token"))

    @app.post(f"{base}/<dataset_id>/records:batchCreate")
    def create_records(dataset_id: str) -> dict[str, Any]:
        return service.add(dataset_id, _batch())

    @app.post(f"{base}/<dataset_id>/records:batchUpdate")
    def update_records(dataset_id: str) -> dict[str, Any]:
        return service.update(dataset_id, _batch())

    @app.post(f"{base}/<dataset_id>/records:batchDelete")
    def delete_records(dataset_id: str) -> dict[str, Any]:
        requests = json_object(request).get("requests", ())
        return service.delete_records(dataset_id, [one["dataset_record_id"] for one in requests])

    @app.delete(f"{base}/<dataset_id>")
    def delete_dataset(dataset_id: str) -> dict[str, Any]:
        return service.delete(dataset_id)


def _experiment(experiment_id: str, name: str | None = None) -> dict[str, Any]:
    """Describe an experiment; every id and name exists, without runs."""
    described = {"experiment_id": experiment_id, "name": name or f"/Shared/{experiment_id}"}
    return {"experiment": {**described, "lifecycle_stage": "active"}}


def _batch() -> list[dict[str, Any]]:
    records = [entry["dataset_record"] for entry in json_object(request).get("requests", ())]
    if len(records) > _MAX_BATCH_SIZE:
        raise bad_request(f"{len(records)} records are too many for one request.")
    return records


def _add_files(app: Flask, lakehouse: Lakehouse, faults: FaultQueue) -> None:
    base = "/api/2.0/fs/files/<path:path>"

    @app.put(base)
    def upload(path: str) -> tuple[str, int]:
        if fault := faults.take(".".join(path.split("/")[1:4]), Denied):
            raise ApiError(403, "PERMISSION_DENIED", fault.message)
        lakehouse.volumes.write(path, request.get_data())
        return "", 204

    @app.delete(base)
    def delete(path: str) -> tuple[str, int]:
        lakehouse.volumes.delete(path)
        return "", 204
