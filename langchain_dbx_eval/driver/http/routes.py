"""The routes of the app: one table, from which registration, 404 and ``/openapi.json`` derive.

To add a route, add a `Route` to `ROUTES`; for a POST, add its format to `request_formats` too.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import Any, Literal
from urllib.parse import quote

from flask import Flask, Response, g, jsonify, request

from langchain_dbx_eval._internal.log import get_logger
from langchain_dbx_eval.driver.errors import RequestError
from langchain_dbx_eval.driver.executor import RequestExecutor
from langchain_dbx_eval.driver.http.middleware import app_path
from langchain_dbx_eval.driver.http.openapi import EVENT_STREAM, JSON, description
from langchain_dbx_eval.driver.protocol.formats import RequestFormat
from langchain_dbx_eval.driver.protocol.json_body import decode
from langchain_dbx_eval.driver.protocol.requests import ParsedGeneration

__all__ = ["ROUTES", "Route", "add_routes", "not_found_message"]

_log = get_logger(__name__)


@dataclass(frozen=True)
class Route:
    """A route of the app.

    Attributes:
        method: The HTTP method.
        path: The path, which is also the label in log and metrics. A name in braces is a parameter,
            which may contain slashes, as the name of a model may.
        summary: What it does, for ``/openapi.json``.
        handler: Returns the response, given the executor, for a POST the format of its body and
            whether to log it, and the parameters of the path by name.
        media_type: The content type of a successful response that is not streamed.
        needs_key: Whether a request must send the API key.
    """

    method: Literal["GET", "POST"]
    path: str
    summary: str
    handler: Callable[..., Response]
    media_type: str = JSON
    needs_key: bool = True


def add_routes(app: Flask, executor: RequestExecutor, *, log_prompts: bool) -> None:
    """Register all routes.

    Args:
        app: The app.
        executor: Executes the requests.
        log_prompts: Whether to log the body of each request.
    """
    for route in ROUTES:
        view = partial(route.handler, executor)
        if route.method == "POST":
            view = partial(view, executor.formats[route.path], log_prompts)
        rule = re.sub(r"{(\w+)}", r"<path:\1>", route.path)
        app.add_url_rule(rule, route.path, view, methods=[route.method])


def not_found_message() -> str:
    """Return the message of a 404, which lists all routes."""
    paths = {
        method: ", ".join(route.path for route in ROUTES if route.method == method)
        for method in ("POST", "GET")
    }
    return f"This server has the routes POST {paths['POST']} and GET {paths['GET']}."


def _invoke(
    executor: RequestExecutor,
    request_format: RequestFormat,
    log_prompts: bool,
    endpoint: str = "",  # noqa: ARG001 - any name, as for the field "model"
) -> Response:
    # Without a preflight request, a web page may post text/plain to any host, but not JSON.
    if request.mimetype != JSON:
        message = "Send JSON, with the header 'Content-Type: application/json'."
        raise RequestError(415, "UNSUPPORTED_MEDIA_TYPE", message)
    if request.content_encoding not in (None, "identity"):
        message = f"Send the body without the encoding {request.content_encoding!r}."
        raise RequestError(415, "UNSUPPORTED_MEDIA_TYPE", message)
    body = decode(request.get_data())
    parsed = request_format.parse(body)
    if log_prompts:
        _log.info("%s received %r", g.request_id, body)
    # Set by waitress; other WSGI servers detect a disconnect only when they write.
    client_disconnected = request.environ.get("waitress.client_disconnected", bool)
    if isinstance(parsed, ParsedGeneration):
        # The documented protocol has no field for streaming.
        events = request.accept_mimetypes.best == EVENT_STREAM
        if parsed.response_format == "text" and events:
            parsed = replace(parsed, stream=True)
        if parsed.stream:
            return _stream(executor, parsed, client_disconnected)
    return jsonify(executor.answer(parsed, client_disconnected))


def _stream(
    executor: RequestExecutor, parsed: ParsedGeneration, client_disconnected: Callable[[], bool]
) -> Response:
    events = executor.stream(parsed, client_disconnected, g.request_id)
    first = next(events)  # an error before the first event has its own HTTP status
    # no-transform, no buffering: otherwise a proxy may collect the events.
    headers = {"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no"}
    response = Response(chain([first], events), content_type=EVENT_STREAM, headers=headers)
    response.call_on_close(events.close)
    return response


def _health(executor: RequestExecutor) -> Response:
    problem = executor.health()
    if problem is not None:
        raise RequestError(503, "TEMPORARILY_UNAVAILABLE", problem, retry_after=5)
    return jsonify(status="ok")


def _metrics(executor: RequestExecutor) -> Response:
    text, content_type = executor.metrics.render()
    return Response(text, content_type=content_type)


def _models(executor: RequestExecutor) -> Response:
    return jsonify(object="list", data=[_model_card(executor)])


def _model(executor: RequestExecutor, model: str) -> Response:
    _check_name(executor, model)
    return jsonify(_model_card(executor))


def _model_card(executor: RequestExecutor) -> dict[str, Any]:
    return {"id": executor.model_name, "object": "model", "created": 0, "owned_by": "driver"}


def _endpoints(executor: RequestExecutor) -> Response:
    return jsonify(endpoints=[_endpoint_card(executor)])


def _endpoint(executor: RequestExecutor, endpoint: str) -> Response:
    _check_name(executor, endpoint)
    return jsonify(_endpoint_card(executor))


def _endpoint_card(executor: RequestExecutor) -> dict[str, Any]:
    """Describe the engine as an endpoint of MLflow's gateway."""
    name = executor.model_name
    return {
        "name": name,
        "endpoint_type": f"llm/v1/{'chat' if executor.capabilities.generates else 'embeddings'}",
        "model": {"name": name, "provider": "driver"},
        "endpoint_url": f"/endpoints/{quote(name, safe='')}/invocations",
        "limit": None,
    }


def _check_name(executor: RequestExecutor, name: str) -> None:
    # A name that is a path has lost its leading slash.
    if app_path(f"/{name}") != app_path(f"/{executor.model_name}"):
        message = f"This server has the model {executor.model_name!r} only."
        raise RequestError(404, "MODEL_NOT_FOUND", message)


def _openapi(executor: RequestExecutor) -> Response:
    return jsonify(description(ROUTES, executor.formats))


ROUTES = (
    Route("POST", "/", "Complete a prompt, continue a conversation or embed texts", _invoke),
    Route("POST", "/invocations", "MLflow's scoring protocol", _invoke),
    Route("POST", "/endpoints/{endpoint}/invocations", "MLflow's gateway: any name", _invoke),
    Route("POST", "/v1/chat/completions", "Continue a conversation", _invoke),
    Route("POST", "/v1/completions", "Complete prompts", _invoke),
    Route("POST", "/v1/embeddings", "Embed texts", _invoke),
    Route("POST", "/v1/responses", "Continue a conversation, in OpenAI's newer form", _invoke),
    Route("GET", "/health", "Whether the engine can answer", _health, needs_key=False),
    Route("GET", "/ping", "The same as /health", _health, needs_key=False),
    Route("GET", "/metrics", "Prometheus metrics", _metrics, media_type="text/plain"),
    Route("GET", "/v1/models", "The name of the model", _models),
    Route("GET", "/v1/models/{model}", "The model of this name", _model),
    Route("GET", "/api/2.0/endpoints/", "The model as an endpoint of MLflow's gateway", _endpoints),
    Route("GET", "/api/2.0/endpoints/{endpoint}", "The endpoint of this name", _endpoint),
    Route("GET", "/openapi.json", "This description", _openapi),
)
