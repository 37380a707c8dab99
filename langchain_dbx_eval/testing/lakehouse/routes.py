"""The routes of the data side: SQL warehouses, Unity Catalog, and managed datasets."""

from __future__ import annotations

import time
from typing import Any

from flask import Flask, Response, request

from langchain_dbx_eval.testing.errors import Refusal, bad_request
from langchain_dbx_eval.testing.lakehouse.faults import SqlFaults
from langchain_dbx_eval.testing.lakehouse.managed_datasets import ManagedEvals, add_managed_routes
from langchain_dbx_eval.testing.lakehouse.statement_api import LINKS, SqlApi
from langchain_dbx_eval.testing.lakehouse.tables import Lakehouse, Table
from langchain_dbx_eval.testing.lakehouse.volumes import add_file_routes

__all__ = ["add_data_routes"]

_CREDENTIAL_SECONDS = 3_600
_CREDENTIALS = {
    "access_key_id": "AWS_ACCESS_KEY_ID",
    "secret_access_key": "AWS_SECRET_ACCESS_KEY",
    "session_token": "AWS_SESSION_TOKEN",
}


def add_data_routes(app: Flask, house: Lakehouse, faults: SqlFaults) -> None:
    """Add all of them to the workspace's app."""
    api = SqlApi(house, faults)
    _add_warehouses(app, house, api)
    _add_statements(app, api)
    _add_unity_catalog(app, house)
    add_managed_routes(app, ManagedEvals(house, faults))
    add_file_routes(app, house, faults)


def _add_warehouses(app: Flask, house: Lakehouse, api: SqlApi) -> None:
    @app.get("/api/2.0/sql/warehouses")
    def list_warehouses() -> dict[str, Any]:
        return {"warehouses": [found.describe() for found in list(house.warehouses.values())]}

    @app.get("/api/2.0/sql/warehouses/<warehouse_id>")
    def get_warehouse(warehouse_id: str) -> dict[str, Any]:
        return api.warehouse(warehouse_id).describe()

    @app.post("/api/2.0/sql/warehouses/<warehouse_id>/start")
    def start_warehouse(warehouse_id: str) -> dict[str, Any]:
        api.warehouse(warehouse_id).start()
        return {}


def _add_statements(app: Flask, api: SqlApi) -> None:
    base = "/api/2.0/sql/statements"

    @app.post(base, strict_slashes=False)
    def execute_statement() -> dict[str, Any]:
        body = request.get_json(silent=True)
        if not isinstance(body, dict):
            raise bad_request("Bad request: the body must be a JSON object.")
        return api.submit(body, request.host_url)

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

    @app.get(f"{LINKS}<token>")
    def download(token: str) -> Response:
        if "Authorization" in request.headers:
            # As S3: a signed link and a login are one too many.
            raise Refusal(400, "InvalidArgument", "Only one auth mechanism allowed")
        return Response(api.download(token), mimetype="application/octet-stream")


def _add_unity_catalog(app: Flask, house: Lakehouse) -> None:
    @app.get("/api/2.1/unity-catalog/tables/<name>")
    def get_table(name: str) -> dict[str, Any]:
        if name.lower() not in house.tables:
            raise Refusal(404, "TABLE_DOES_NOT_EXIST", f"Table '{name}' does not exist.")
        return house.tables[name.lower()].describe()

    @app.get("/api/2.1/unity-catalog/metastore_summary")
    def metastore() -> dict[str, Any]:
        return {"metastore_id": "local", "cloud": "aws", "region": "us-east-1"}

    @app.post("/api/2.0/unity-catalog/temporary-table-credentials")
    def vend() -> dict[str, Any]:
        body = request.get_json(silent=True) or {}
        for table in list(house.tables.values()):
            if table.table_id == body.get("table_id"):
                return _credentials(table)
        raise Refusal(404, "TABLE_DOES_NOT_EXIST", "There is no table of this id.")


def _credentials(table: Table) -> dict[str, Any]:
    options = table.storage.options
    vended = {name: options[key] for name, key in _CREDENTIALS.items() if key in options}
    if not vended:
        message = "EXTERNAL USE SCHEMA is not granted, or the metastore allows no external access."
        raise Refusal(403, "PERMISSION_DENIED", message)
    return {
        "aws_temp_credentials": vended,
        "expiration_time": int((time.time() + _CREDENTIAL_SECONDS) * 1000),
        "url": table.location,
    }
