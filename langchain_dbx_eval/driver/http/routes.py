"""The routes of the app: one table, from which registration, 404 and ``/openapi.json`` derive.

To add a route, add a `Route` to `ROUTES`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from operator import attrgetter
from typing import Literal

from flask import Flask, Response, g, jsonify, request

from langchain_dbx_eval.driver.errors import RequestError
from langchain_dbx_eval.driver.http.middleware import to_request_error
from langchain_dbx_eval.driver.http.openapi import description
from langchain_dbx_eval.driver.protocol.formats import RequestFormat, RequestFormats
from langchain_dbx_eval.driver.protocol.json_body import decode
from langchain_dbx_eval.driver.protocol.requests import ParsedGeneration
from langchain_dbx_eval.driver.service import DriverService

__all__ = ["ROUTES", "Route", "add_routes", "not_found_message"]

_log = logging.getLogger(__name__)

_JSON = "application/json"
_EVENTS = "text/event-stream"


@dataclass(frozen=True)
class Route:
    """A route of the app.

    Attributes:
        method: The HTTP method.
        path: The path, which is also the label in log and metrics.
        summary: What it does, for ``/openapi.json``.
        handler: Returns the response, given the service, and the format of the body if there is
            one.
        request_format: Selects the format of the request body; None: it has no body.
        media_types: The content types of a successful response.
        needs_key: Whether a request must send the API key.
    """

    method: Literal["GET", "POST"]
    path: str
    summary: str
    handler: Callable[..., Response]
    request_format: Callable[[RequestFormats], RequestFormat] | None = None
    media_types: tuple[str, ...] = (_JSON,)
    needs_key: bool = True


def add_routes(app: Flask, service: DriverService, *, log_prompts: bool) -> None:
    """Register all routes.

    Args:
        app: The app.
        service: The engine and its limits.
        log_prompts: Whether to log the body of each request.
    """
    for route in ROUTES:
        view = partial(route.handler, service)
        if route.request_format is not None:
            view = partial(view, route.request_format(service.formats), log_prompts)
        app.add_url_rule(route.path, route.path, view, methods=[route.method])


def not_found_message() -> str:
    """Return the message of a 404, which lists all routes."""
    paths = {
        method: ", ".join(route.path for route in ROUTES if route.method == method)
        for method in ("POST", "GET")
    }
    return f"This server has the routes POST {paths['POST']} and GET {paths['GET']}."


def _invoke(service: DriverService, request_format: RequestFormat, log_prompts: bool) -> Response:
    # Without a preflight request, a web page may post text/plain to any host, but not JSON.
    if request.mimetype != _JSON:
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
        events = request.accept_mimetypes.best == _EVENTS
        if parsed.response_format == "text" and events:
            parsed = replace(parsed, stream=True)
        if parsed.stream:
            return _stream(service, parsed, client_disconnected)
    return jsonify(service.answer(parsed, client_disconnected))


def _stream(
    service: DriverService, parsed: ParsedGeneration, client_disconnected: Callable[[], bool]
) -> Response:
    on_error = partial(to_request_error, request_id=g.request_id)
    events = service.stream(parsed, client_disconnected, on_error)
    # no-transform, no buffering: otherwise a proxy may collect the events.
    headers = {"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no"}
    return Response(events, content_type=_EVENTS, headers=headers)


def _health(service: DriverService) -> Response:
    problem = service.health()
    if problem is not None:
        raise RequestError(503, "TEMPORARILY_UNAVAILABLE", problem, retry_after=5)
    return jsonify(status="ok")


def _metrics(service: DriverService) -> Response:
    text, content_type = service.metrics.render()
    return Response(text, content_type=content_type)


def _models(service: DriverService) -> Response:
    model = {"id": service.model_name, "object": "model", "created": 0, "owned_by": "driver"}
    return jsonify(object="list", data=[model])


def _openapi(service: DriverService) -> Response:
    return jsonify(description(ROUTES, service.formats))


ROUTES = (
    Route(
        "POST",
        "/",
        "Complete a prompt, continue a conversation or embed texts",
        _invoke,
        attrgetter("root"),
        (_JSON, _EVENTS),
    ),
    Route(
        "POST",
        "/invocations",
        "MLflow's scoring protocol",
        _invoke,
        attrgetter("invocations"),
        (_JSON, _EVENTS),
    ),
    Route(
        "POST",
        "/v1/chat/completions",
        "Continue a conversation",
        _invoke,
        attrgetter("chat"),
        (_JSON, _EVENTS),
    ),
    Route(
        "POST",
        "/v1/completions",
        "Complete prompts",
        _invoke,
        attrgetter("completion"),
        (_JSON, _EVENTS),
    ),
    Route("POST", "/v1/embeddings", "Embed texts", _invoke, attrgetter("embeddings")),
    Route("GET", "/health", "Whether the engine can answer", _health, needs_key=False),
    Route("GET", "/ping", "The same as /health", _health, needs_key=False),
    Route("GET", "/metrics", "Prometheus metrics", _metrics, media_types=("text/plain",)),
    Route("GET", "/v1/models", "The name of the model", _models),
    Route("GET", "/openapi.json", "This description", _openapi),
)
