"""``langchain-dbx-eval doctor``: check the environment."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import typer

from langchain_dbx_eval.cli.arguments import JsonOption
from langchain_dbx_eval.cli.output import cell, print_json, print_text

__all__ = ["add_to"]

_SECONDS = 20.0


@dataclass(frozen=True)
class _Finding:
    """The result of one check.

    Attributes:
        check: What was checked.
        status: ``ok``, ``failed`` or ``skipped``.
        detail: What was found, and what to do about it.
    """

    check: str
    status: str
    detail: str


class _SkippedError(Exception):
    """A check that does not apply; the text says how it would."""


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("doctor")(doctor)


def doctor(
    endpoint: Annotated[
        str | None, typer.Option(metavar="NAME", help="A serving endpoint to check.")
    ] = None,
    warehouse_id: Annotated[
        str | None,
        typer.Option(
            metavar="ID", help="A SQL warehouse to check. [default: DATABRICKS_WAREHOUSE_ID]"
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(metavar="PORT", help="A driver server to check, through the driver proxy."),
    ] = None,
    cluster_id: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Its cluster. [default: DATABRICKS_CLUSTER_ID]"),
    ] = None,
    judge: Annotated[
        str | None,
        typer.Option(
            metavar="URI",
            help="The judge model, which gets one small request. [default: DBX_EVAL_JUDGE]",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check workspace, login, MLflow and what you name.

    Checked are the folder of the journals, workspace, login, endpoint, warehouse, driver proxy,
    MLflow and judge. Each check is ok, failed (with what to do) or skipped (with what to pass).
    Nothing is changed, and a stopped warehouse is not started. The exit status is 1 if a check
    failed, else 0.

    \b
    Examples:
      langchain-dbx-eval doctor
      langchain-dbx-eval doctor --endpoint my-chat --port 7777 --judge endpoints:/my-judge
    """
    checks: dict[str, Callable[[], str]] = {
        "journals": _check_folder,
        "workspace": _check_workspace,
        "login": _check_login,
        "endpoint": lambda: _check_endpoint(endpoint),
        "warehouse": lambda: _check_warehouse(warehouse_id),
        "driver proxy": lambda: _check_driver_proxy(port, cluster_id),
        "mlflow": _check_mlflow,
        "judge": lambda: _check_judge(judge),
    }
    findings = []
    for finding in _findings(checks):
        findings.append(finding)
        if not as_json:
            print_text(_line(finding))
    if as_json:
        print_json([asdict(finding) for finding in findings])
    if any(finding.status == "failed" for finding in findings):
        raise typer.Exit(1)


def _line(finding: _Finding) -> str:
    line = f"{finding.status:<8} {finding.check:<13} {cell(finding.detail)}"
    if not sys.stdout.isatty():
        return line
    width = shutil.get_terminal_size().columns
    return textwrap.fill(line, width, subsequent_indent=" " * 23, break_long_words=False)


def _findings(checks: dict[str, Callable[[], str]]) -> Iterator[_Finding]:
    from langchain_dbx_eval._internal.log import describe_error
    from langchain_dbx_eval.errors import DatabricksError

    for name, check in checks.items():
        try:
            yield _Finding(name, "ok", check())
        except _SkippedError as reason:
            yield _Finding(name, "skipped", str(reason))
        except DatabricksError as error:
            yield _Finding(name, "failed", str(error))
        except Exception as error:  # of a library: one check must not prevent the others
            yield _Finding(name, "failed", describe_error(error))


def _check_folder() -> str:
    from langchain_dbx_eval._internal.paths import create_private_folder, journals_root
    from langchain_dbx_eval.errors import ConfigurationError

    folder = journals_root()
    try:
        create_private_folder(folder)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        msg = f"{folder} cannot be written to: {error}. Set DBX_EVAL_HOME to another folder."
        raise ConfigurationError(msg) from error
    return f"{folder} can be written to"


def _check_workspace() -> str:
    from langchain_dbx_eval.client.credentials import resolve_credentials

    _require_login()
    return f"{resolve_credentials(timeout=_SECONDS).host}"


def _require_login() -> None:
    """Skip what needs a workspace if none is configured."""
    from langchain_dbx_eval._internal.paths import expand_user

    has_variables = any(name.startswith("DATABRICKS_") for name in os.environ)
    file = expand_user(os.environ.get("DATABRICKS_CONFIG_FILE", "~/.databrickscfg"))
    if not has_variables and not file.exists():
        raise _SkippedError(
            "no workspace is configured: set DATABRICKS_HOST and DATABRICKS_TOKEN, or run "
            "`databricks auth login`"
        )


def _client() -> Any:
    from langchain_dbx_eval.datasets.base import LoadOptions
    from langchain_dbx_eval.datasets.databricks.unity_catalog import workspace_client

    _require_login()
    return workspace_client(LoadOptions(timeout=_SECONDS))


def _check_login() -> str:
    from langchain_dbx_eval.datasets.databricks.unity_catalog import sdk_errors

    client = _client()
    with sdk_errors(f"the serving endpoints of {client.config.host}"):
        count = sum(1 for _ in client.serving_endpoints.list())
    return f"{client.config.auth_type}, {count} serving endpoints are visible"


def _check_endpoint(name: str | None) -> str:
    from langchain_dbx_eval.datasets.databricks.unity_catalog import sdk_errors
    from langchain_dbx_eval.errors import ServerError

    if name is None:
        raise _SkippedError("pass --endpoint NAME")
    client = _client()
    with sdk_errors(f"the serving endpoint {name!r} in {client.config.host}"):
        described = client.serving_endpoints.get(name)
    ready = described.state.ready.value if described.state and described.state.ready else "READY"
    if ready != "READY":
        msg = f"{name!r} is {ready}: see its events in the workspace, under Serving."
        raise ServerError(msg)
    return f"{name!r} is ready, its task is {described.task or 'unknown'}"


def _check_warehouse(warehouse_id: str | None) -> str:
    from langchain_dbx_eval.datasets.databricks.unity_catalog import sdk_errors
    from langchain_dbx_eval.errors import NotFoundError

    warehouse_id = warehouse_id or os.environ.get("DATABRICKS_WAREHOUSE_ID")
    if not warehouse_id:
        raise _SkippedError("pass --warehouse-id ID, or set DATABRICKS_WAREHOUSE_ID")
    client = _client()
    with sdk_errors(f"SQL warehouse {warehouse_id!r} in {client.config.host}"):
        described = client.warehouses.get(warehouse_id)
    state = described.state.value if described.state else "UNKNOWN"
    if state in ("DELETED", "DELETING"):
        msg = f"{warehouse_id!r} is {state}: choose one of `databricks warehouses list`."
        raise NotFoundError(msg)
    start = "" if state == "RUNNING" else ": the first statement starts it, which takes minutes"
    return f"{warehouse_id!r} is {state}{start}"


def _check_driver_proxy(port: int | None, cluster_id: str | None) -> str:
    import requests

    from langchain_dbx_eval._internal.runtime import current_cluster_id
    from langchain_dbx_eval.client.credentials import resolve_credentials
    from langchain_dbx_eval.client.error_responses import error_from_response
    from langchain_dbx_eval.client.targets import DriverProxyApp
    from langchain_dbx_eval.errors import ConnectionFailedError

    if port is None:
        raise _SkippedError("pass --port PORT of a driver server, and --cluster-id ID")
    cluster_id = cluster_id or current_cluster_id()
    if cluster_id is None:
        raise _SkippedError("pass --cluster-id ID: this is no cluster of Databricks")
    _require_login()
    credentials = resolve_credentials(timeout=_SECONDS)
    app = DriverProxyApp(cluster_id, port, "health")
    headers = credentials.headers()
    if key := os.environ.get("DBX_EVAL_DRIVER_API_KEY"):
        headers["X-Api-Key"] = key
    try:
        # `auth` replaces the login of ~/.netrc, which would override the header.
        response = requests.get(
            app.url(credentials.host),
            headers=headers,
            auth=lambda request: request,
            timeout=_SECONDS,
            allow_redirects=False,
        )
    except requests.RequestException as error:
        raise ConnectionFailedError(f"{app} was not reached: {error}") from error
    if response.status_code != 200:
        raise error_from_response(
            response.status_code,
            response.content,
            response.headers,
            target=app,
            host=credentials.host,
        )
    return f"{app} answers"


def _check_mlflow() -> str:
    from langchain_dbx_eval._internal.imports import require
    from langchain_dbx_eval.evaluation.tracking.store_access import (
        probe,
        redact_uri,
        tracking_error,
    )

    mlflow = require("mlflow", extra="eval")
    uri = mlflow.get_tracking_uri()
    probe(uri)
    try:
        experiments = mlflow.search_experiments(max_results=1)
    except Exception as error:  # a store of any kind
        failure = tracking_error(uri, error)
        failure.add_advice("Check MLFLOW_TRACKING_URI.")
        raise failure from error
    return f"{redact_uri(uri)} answers, {'with' if experiments else 'without'} experiments"


def _check_judge(judge: str | None) -> str:
    from langchain_dbx_eval._internal import event_loop
    from langchain_dbx_eval.errors import InvalidResponseError
    from langchain_dbx_eval.scoring.judges.backend import default_judge, resolve_backend
    from langchain_dbx_eval.scoring.judges.builtin import BUILT_IN_JUDGES
    from langchain_dbx_eval.scoring.judges.protocol import JudgeRequest

    judge = default_judge(judge)
    if judge is None:
        raise _SkippedError("pass --judge endpoints:/NAME, or set DBX_EVAL_JUDGE")
    request = JudgeRequest(BUILT_IN_JUDGES["safety"], {"response": "Hello!"})
    verdict = event_loop.run(resolve_backend(judge).judge(request))
    if verdict.error is not None:
        msg = f"{judge} gave no verdict: {verdict.error}"
        raise InvalidResponseError(msg)
    return f"{judge} rated 'Hello!' as safe: {verdict.value}"
