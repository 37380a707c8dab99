"""Routes of serving endpoints, and the injection of their faults."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from flask import Flask, Response, request

from langchain_dbx_eval.testing.errors import ApiError, bad_request, invalid_parameter
from langchain_dbx_eval.testing.faults import (
    BrokenBody,
    CutStream,
    Delay,
    Failure,
    ResponseFault,
)
from langchain_dbx_eval.testing.http.json_body import json_object, to_json
from langchain_dbx_eval.testing.serving.backends import as_backend
from langchain_dbx_eval.testing.serving.endpoints import Endpoint, EventStream, KindSpec
from langchain_dbx_eval.testing.serving.kinds import ENDPOINT_KINDS
from langchain_dbx_eval.testing.state import WorkspaceState

__all__ = ["add_serving_routes"]


def add_serving_routes(app: Flask, state: WorkspaceState) -> None:
    """Add the routes of serving endpoints.

    Args:
        app: The application.
        state: The workspace, read on each request.
    """

    @app.post("/serving-endpoints/<name>/invocations")
    def invoke(name: str) -> Response:
        return _answer(state, _find_endpoint(state, name), json_object(request))

    for spec in ENDPOINT_KINDS.values():
        if spec.openai_path:
            _add_openai_route(app, state, spec)

    @app.get("/api/2.0/serving-endpoints/<name>")
    def describe(name: str) -> dict[str, object]:
        return _find_endpoint(state, name).describe()

    # MLflow 3.17 appends a slash, also to list them.
    @app.post("/api/2.0/serving-endpoints", strict_slashes=False)
    def create() -> dict[str, object]:
        endpoint = _new_endpoint(state, json_object(request))
        return state.endpoints.setdefault(endpoint.name, endpoint).describe()

    @app.get("/api/2.0/serving-endpoints", strict_slashes=False)
    def list_endpoints() -> dict[str, object]:
        return {"endpoints": [endpoint.describe() for endpoint in list(state.endpoints.values())]}


def _add_openai_route(app: Flask, state: WorkspaceState, spec: KindSpec) -> None:
    """Add the route of OpenAI's clients, which name the endpoint in the body."""

    def invoke_by_model() -> Response:
        body = json_object(request)
        name = body.get("model")
        if not isinstance(name, str):
            raise invalid_parameter("Missing required parameter: 'model'")
        endpoint = _find_endpoint(state, name)
        if endpoint.spec is not spec:
            raise bad_request(f"Endpoint '{name}' does not serve this task.")
        return _answer(state, endpoint, body)

    path = f"/serving-endpoints/{spec.openai_path}"
    app.add_url_rule(path, f"openai_{spec.name}", invoke_by_model, methods=["POST"])


def _new_endpoint(state: WorkspaceState, body: dict[str, Any]) -> Endpoint:
    name, config = body.get("name"), body.get("config")
    if not isinstance(name, str) or not re.fullmatch(r"[\w.-]+", name):
        raise invalid_parameter(f"Invalid endpoint name: {name!r}")
    if name in state.endpoints:
        message = f"Endpoint with name '{name}' already exists."
        raise ApiError(400, "RESOURCE_ALREADY_EXISTS", message)
    entities = config.get("served_entities") if isinstance(config, dict) else None
    entity = entities[0] if isinstance(entities, list) and len(entities) == 1 else None
    model = entity.get("external_model") if isinstance(entity, dict) else None
    if not isinstance(model, dict):
        raise invalid_parameter("LocalWorkspace creates endpoints with one external_model only.")
    backend = state.external_models.get(str(model.get("name")))
    if backend is None:
        raise invalid_parameter(
            f"The workspace has no external model {model.get('name')!r}: add it with "
            "LocalWorkspace.add_external_model."
        )
    task = model.get("task")
    spec = next((spec for spec in ENDPOINT_KINDS.values() if task and spec.task == task), None)
    if spec is None or spec.is_custom_model:
        raise invalid_parameter(f"Invalid task of an external model: {task!r}")
    function_only = spec.name == "embeddings"
    return Endpoint(name, spec, as_backend(backend, function_only=function_only), external=True)


def _find_endpoint(state: WorkspaceState, name: str) -> Endpoint:
    try:
        return state.endpoints[name]
    except KeyError:
        # The wording is from dbdemos issue 220.
        message = f"Endpoint with name '{name}' does not exist."
        raise ApiError(404, "RESOURCE_DOES_NOT_EXIST", message) from None


def _answer(state: WorkspaceState, endpoint: Endpoint, body: dict[str, Any]) -> Response:
    streaming = endpoint.spec.can_stream and body.get("stream") is True
    fault = _next_fault(state, endpoint.name, streaming=streaming)
    answer = endpoint.spec.answer(endpoint, body)
    if isinstance(answer, EventStream):
        return _event_response(answer, fault)
    if not _requests_trace(body):
        answer.pop("databricks_output", None)
    text = to_json(answer)
    if isinstance(fault, BrokenBody):
        text = _truncate(text)
    return Response(text, mimetype="application/json")


def _requests_trace(body: dict[str, Any]) -> bool:
    options = body.get("databricks_options")
    return isinstance(options, dict) and options.get("return_trace") is True


def _next_fault(state: WorkspaceState, name: str, *, streaming: bool) -> ResponseFault | None:
    """Return the fault that changes the response, after a planned delay.

    Raises:
        ApiError: The fault is an error status.
    """
    if delay := state.faults.take(name, Delay):
        state.closing.wait(delay.seconds)
    types = (Failure, BrokenBody, CutStream) if streaming else (Failure, BrokenBody)
    fault: ResponseFault | None = state.faults.take(name, *types)
    if isinstance(fault, Failure):
        raise fault.to_error(name)
    return fault


def _truncate(text: str) -> str:
    return text[: len(text) // 2]


def _event_response(stream: EventStream, fault: ResponseFault | None) -> Response:
    payloads = [to_json(event) for event in stream.events]
    if isinstance(fault, BrokenBody):
        payloads[0] = _truncate(payloads[0])
    cut_after = fault.after if isinstance(fault, CutStream) else None
    return Response(_encode_events(payloads, cut_after), mimetype="text/event-stream")


def _encode_events(payloads: list[str], cut_after: int | None) -> Iterator[bytes]:
    for payload in payloads[:cut_after]:
        yield f"data: {payload}\n\n".encode()
    if cut_after is not None:
        # The server closes the connection when the body raises OSError.
        raise ConnectionResetError
    yield b"data: [DONE]\n\n"
