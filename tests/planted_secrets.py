"""The process of `test_planted_secrets`: it uses each secret, and writes all that can be written.

Its servers repeat the headers of each request. Standard input has the secrets by name; everything
is written below the current folder.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
import logging
import os
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import cloudpickle
import mlflow
import openai
import requests
from databricks.sdk import WorkspaceClient
from langchain_core.callbacks import StdOutCallbackHandler
from langchain_core.load import dumps
from langchain_core.runnables import RunnableLambda
from langchain_openai import ChatOpenAI

from langchain_dbx_eval import (
    ChatDatabricks,
    Databricks,
    DatabricksEmbeddings,
    EvaluationCallbackHandler,
    EvaluationResult,
    evaluate,
)
from langchain_dbx_eval._internal.log import describe_error
from langchain_dbx_eval.cli import main
from langchain_dbx_eval.driver import DriverServer, UpstreamEngine
from langchain_dbx_eval.errors import DatabricksError
from langchain_dbx_eval.evaluation import EvaluationOptions
from langchain_dbx_eval.reporting import write_report
from langchain_dbx_eval.testing import LocalWorkspace
from tests.loopback import (
    CALLS,
    Answer,
    LoopbackServer,
    Pieces,
    Received,
    call_model,
    chat_answer,
    chat_chunk,
    events,
)

_log = logging.getLogger("application")
_ENDPOINTS = (
    "ok",
    "status-400",
    "status-401",
    "status-500",
    "html",
    "shape",
    "cut",
    "stream-error",
)
_TARGETS = {"endpoint_name": Databricks, "model": ChatDatabricks, "endpoint": DatabricksEmbeddings}
_PATHS = ("/", "/v1/chat/completions", "/v1/embeddings", "/nothing", "/health", "/metrics")
_BODY = {"prompt": "a", "messages": [{"role": "user", "content": "a"}], "input": "a"}


def repeat_headers(received: Received) -> Any:
    """Answer as the name of the endpoint says, with the headers of the request in each failure."""
    text = str(received.headers)
    kind = next((name for name in _ENDPOINTS if name in received.path), "status-400")
    if "oidc" in received.path:
        return _oidc(received)
    if "/mlflow/" in received.path:
        return Answer({"error_code": "PERMISSION_DENIED", "message": text}, 403)
    if kind == "ok":
        streams = isinstance(received.body, dict) and received.body.get("stream")
        if streams:
            return Pieces(events(chat_chunk("ok"), chat_chunk(end="stop")))
        return {**chat_answer("ok"), "data": [{"index": 0, "embedding": [1.0]}]}
    if kind == "cut":
        return Pieces(events(chat_chunk(text), done=False), cut=True)
    if kind == "stream-error":
        return Pieces(events(chat_chunk("a"), {"error": {"message": text}}, done=False))
    if kind == "html":
        return Answer(f"<html><body>{text}</body></html>".encode(), 502)
    if kind == "shape":
        return {"headers": received.headers}
    return Answer({"error_code": text, "message": text}, int(kind.removeprefix("status-")))


def _oidc(received: Received) -> Any:
    if "token" in received.path:
        if b"fails" in received.raw:
            return Answer({"error": "invalid_client", "error_description": str(received)}, 401)
        return {"access_token": SECRETS["oauth_access"], "token_type": "Bearer", "expires_in": 3600}
    base = f"http://{received.headers['Host']}"
    fails = "-fails" if "fails" in received.path else ""
    return {
        "authorization_endpoint": f"{base}/oidc/auth",
        "token_endpoint": f"{base}/oidc/token{fails}",
    }


def attempt(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Return the result of a call; write an error of this package in each form."""
    try:
        return call(*args, **kwargs)
    except DatabricksError as error:
        _log.exception("failed")
        print(repr(error), str(error), vars(error))
        with contextlib.suppress(Exception):
            Path(f"error-{id(error)}.pickle").write_bytes(pickle.dumps(error))
    except openai.APIStatusError as error:  # another package's: its errors are not ours to change
        _log.error("failed: %s", describe_error(error))
    return None


def write_forms(component: Any, name: str) -> None:
    """Write a component in each form that it has."""
    print(repr(component), str(component), component.model_dump_json(exclude={"extra_params"}))
    print(component._identifying_params if hasattr(component, "_identifying_params") else "")
    print(dumps(component), copy.deepcopy(component), component.model_copy())
    for library in (pickle, cloudpickle):
        Path(f"{name}-{library.__name__}.pickle").write_bytes(library.dumps(component))
    if isinstance(component, Databricks):
        component.save(f"{name}.yaml")


def call_clients(name: str, **login: Any) -> None:
    """Call each component with a login, at each endpoint."""
    for field, component in _TARGETS.items():
        app = "cluster_driver_port" in login
        for endpoint in _ENDPOINTS:
            target = {"path": endpoint} if app else {field: endpoint}
            if component is Databricks and not app:
                target["task"] = "llm/v1/chat"
            model = attempt(component, **{"max_retries": 0, **login, **target})
            if model is None:
                continue
            if component is DatabricksEmbeddings:
                attempt(model.embed_query, "hi")
                attempt(lambda model: asyncio.run(model.aembed_documents(["hi"])), model)
            else:
                for call in CALLS:
                    attempt(call_model, model, call)
            if endpoint == "ok":
                write_forms(model, f"{name}-{field}")


def clients(url: str) -> None:
    call_clients("api-token", host=url, api_token=SECRETS["api_token"])
    with mock.patch.dict(os.environ, DATABRICKS_HOST=url, DATABRICKS_TOKEN=SECRETS["environment"]):
        call_clients("environment")
    config = f"[planted]\nhost = {url}\ntoken = {SECRETS['profile']}\n"
    Path(os.environ["DATABRICKS_CONFIG_FILE"]).write_text(config)
    call_clients("profile", profile="planted")
    client = WorkspaceClient(host=url, token=SECRETS["workspace_client"])
    call_clients("workspace-client", workspace_client=client)
    for name in ("id", "fails"):
        oauth = {"DATABRICKS_CLIENT_ID": name, "DATABRICKS_CLIENT_SECRET": SECRETS["oauth_secret"]}
        with mock.patch.dict(os.environ, DATABRICKS_HOST=url, **oauth):
            call_clients(f"oauth-{name}")
    app = {"cluster_driver_port": 7777, "cluster_id": "c", "host": url}
    key = SECRETS["driver_api_key"]
    call_clients("driver-key", **app, api_token=SECRETS["api_token"], driver_api_key=key)
    with mock.patch.dict(os.environ, DBX_EVAL_DRIVER_API_KEY=SECRETS["driver_environment"]):
        call_clients("driver-environment", **app, api_token=SECRETS["api_token"])
    for host in (
        f"https://user:{SECRETS['host_password']}@h",
        f"ftp://{SECRETS['host_password']}@h",
    ):
        call_clients("host", host=host, api_token=SECRETS["api_token"])
        base_url = {"model": "m", "base_url": f"{host}/v1", "api_token": SECRETS["api_token"]}
        for component in (ChatDatabricks, DatabricksEmbeddings):
            gateway = attempt(component, **base_url, max_retries=0, timeout=1)
            if gateway is not None:
                write_forms(gateway, "gateway")
                attempt(gateway.invoke, "hi")
    attempt(ChatDatabricks, model="m", api_token=[SECRETS["api_token"]])
    proxy = f"http://user:{SECRETS['proxy_password']}@{url.removeprefix('http://')}"
    with mock.patch.dict(os.environ, HTTPS_PROXY=proxy):
        call_clients("proxy", host="https://w.example", api_token=SECRETS["api_token"])
    headers = {"extra_headers": {"X-Gateway-Key": SECRETS["extra_header"]}}
    options: dict[str, Any] = {"host": url, "api_token": SECRETS["api_token"], "max_retries": 0}
    for endpoint in _ENDPOINTS:
        chat = ChatDatabricks(model=endpoint, extra_params=headers, **options)
        for call in CALLS:
            attempt(call_model, chat, call)
    write_forms(chat, "extra-headers")
    chat.callbacks = [StdOutCallbackHandler()]
    attempt(chat.invoke, "hi")


def evaluations(url: str) -> None:
    mlflow.set_tracking_uri(f"sqlite:///{Path('mlflow.db').absolute()}")
    login = {"host": url, "api_token": SECRETS["api_token"], "max_retries": 0}
    headers = {"extra_headers": {"X-Gateway-Key": SECRETS["extra_header"]}}
    data = [{"request": text, "expected_response": "ok"} for text in ("a", "b")]
    judges = [
        ChatDatabricks(model="status-400", **{**login, "api_token": SECRETS["judge_token"]}),
        ChatOpenAI(
            model="m", base_url=f"{url}/status-400", api_key=SECRETS["judge_key"], max_retries=0
        ),
    ]

    def failing(text: str) -> str:
        raise ValueError(f"no login with {SECRETS['api_token']} and {SECRETS['environment_key']}")

    models = [
        ChatDatabricks(model="ok", extra_params=headers, **login),
        ChatDatabricks(model="status-500", extra_params=headers, **login),
        judges[1],
        RunnableLambda(lambda text: text) | judges[1],
        failing,
    ]
    options = EvaluationOptions(judge_cache="verdicts.db")
    results = [
        evaluate(m, data, judge=judges[n % 2], options=options) for n, m in enumerate(models)
    ]
    mlflow.langchain.autolog()
    results += [evaluate(model, data, scorers=[]) for model in models[:2]]
    mlflow.langchain.autolog(disable=True)
    for number, result in enumerate(results):
        print(result, result._repr_html_(), result.tables["eval_results"].to_csv())
        write_report(result, Path(f"report-{number}.html"))
    handler = EvaluationCallbackHandler(data, judge=judges[0])
    config = {"callbacks": [handler]}
    for model in models[:2]:
        for call in CALLS:
            attempt(call_model, model, call, "a", config=config, **headers)
    attempt(models[3].invoke, "a", config)
    print(handler.result())
    mlflow.langchain.autolog(disable=True)
    for arguments in (
        ["list"],
        ["list", "--json"],
        ["check", str(result.journal), "rows/failed<1"],
    ):
        with contextlib.suppress(SystemExit):
            main(arguments)
    print(EvaluationResult.load(result.evaluation_id).rows[0])
    store(url, models[0], data)


def store(url: str, model: Any, data: Any) -> None:
    """Evaluate with a tracking server that refuses each request."""
    address = url.removeprefix("http://")
    uris = [f"http://user:{SECRETS['mlflow_password']}@{address}", f"{url}/mlflow"]
    with mock.patch.dict(os.environ, MLFLOW_TRACKING_TOKEN=SECRETS["mlflow_token"]):
        for uri in uris:
            mlflow.set_tracking_uri(uri)
            result = evaluate(model, data, scorers=[])
            print(result)
            with contextlib.suppress(SystemExit):
                main(["sync", result.evaluation_id])


def servers(url: str) -> None:
    """Call driver servers whose engines fail with secrets in their errors."""

    def failing(prompt: str) -> str:
        raise ValueError(f"no login with {SECRETS['server_key']}")

    upstream = UpstreamEngine(f"{url}/status-400/v1", "m", api_key=SECRETS["upstream_key"])
    attempt(UpstreamEngine, f"http://u:{SECRETS['upstream_key']}@h/v1", "m")
    for engine in (failing, upstream):
        with DriverServer(
            engine, "127.0.0.1", 0, SECRETS["server_key"], log_prompts=True
        ) as server:
            print(server, engine)
            paths = (
                "/",
                "/v1/chat/completions",
                "/v1/embeddings",
                "/nothing",
                "/health",
                "/metrics",
            )
            for path in (*paths, f"/{SECRETS['server_key']}"):
                for key in (SECRETS["server_key"], "wrong"):
                    body = {
                        "prompt": "a",
                        "messages": [{"role": "user", "content": "a"}],
                        "input": "a",
                    }
                    request = {"headers": {"X-Api-Key": key}, "timeout": 30}
                    print(requests.post(server.url + path, json=body, **request).text)
                    print(requests.get(server.url + path, **request).text)
    with LocalWorkspace(token=SECRETS["workspace"]) as workspace:
        workspace.add_endpoint("ok", failing, kind="chat")
        print(workspace)
        attempt(ChatDatabricks(model="ok", max_retries=0).invoke, "hi")
        for path in ("/api/2.0/serving-endpoints", "/nothing", "/api/2.0/sql/statements"):
            headers = {"Authorization": f"Bearer {SECRETS['workspace']}"}
            print(requests.post(workspace.url + path, json={"a": 1}, headers=headers).text)


if __name__ == "__main__":
    SECRETS = json.load(sys.stdin)
    logging.basicConfig(
        level=logging.DEBUG, filename="debug.log", format="%(asctime)s %(name)s %(message)s"
    )
    # It logs the paths of `requests.get` in this file, one of which is a key.
    logging.getLogger("urllib3").setLevel(logging.INFO)
    os.environ["OTHER_API_KEY"] = SECRETS["environment_key"]
    with LoopbackServer(repeat_headers) as loopback:
        for part in (clients, evaluations, servers):
            part(loopback.url)
            print("finished", part.__name__)
