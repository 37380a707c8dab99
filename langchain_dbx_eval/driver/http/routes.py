"""What the app answers: thin views over the pure functions of `schema`, and one form of error."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable
from dataclasses import replace

from flask import Flask, Response, g, jsonify, request
from werkzeug.exceptions import HTTPException

from langchain_dbx_eval.driver.errors import RequestError
from langchain_dbx_eval.driver.http.auth import KEY_HEADER, KEY_VARIABLE, key_matches
from langchain_dbx_eval.driver.http.openapi import document
from langchain_dbx_eval.driver.protocol.json_body import decode
from langchain_dbx_eval.driver.protocol.mlflow import parse_invocations
from langchain_dbx_eval.driver.protocol.openai import (
    parse_any,
    parse_chat,
    parse_completion,
    parse_embeddings,
)
from langchain_dbx_eval.driver.protocol.requests import Capabilities, GenerationAsk, ParsedRequest
from langchain_dbx_eval.driver.runtime.request_context import ClientGoneError
from langchain_dbx_eval.driver.service import DriverService

__all__ = ["add_error_form", "add_key_check", "add_request_log", "add_routes"]

_log = logging.getLogger(__name__)

_HTTP_ERRORS = {
    404: (
        "ENDPOINT_NOT_FOUND",
        "There is POST /, /invocations, /v1/chat/completions, /v1/completions and /v1/embeddings, "
        "and GET /health, /metrics, /v1/models and /openapi.json here.",
    ),
    405: ("METHOD_NOT_ALLOWED", "This path takes another method: see the Allow header."),
    413: (
        "REQUEST_TOO_LARGE",
        "The body is longer than this server's max_request_bytes: send a shorter one.",
    ),
}
_CLIENT_CLOSED_REQUEST = 499  # nginx's number, which logs and dashboards know
_NO_KEY_NEEDED = frozenset({"health", "ping"})

_POSTS: tuple[tuple[str, Callable[[object, Capabilities], ParsedRequest]], ...] = (
    ("/", parse_any),
    ("/invocations", parse_invocations),
    ("/v1/chat/completions", parse_chat),
    ("/v1/completions", parse_completion),
    ("/v1/embeddings", parse_embeddings),
)


def add_routes(app: Flask, service: DriverService, *, log_prompts: bool) -> None:
    """Serve the engine in all dialects, and tell how it is."""
    for path, understand in _POSTS:
        view = _view(service, understand, log_prompts=log_prompts)
        app.add_url_rule(path, endpoint=path, view_func=view, methods=["POST"])

    @app.get("/health")
    @app.get("/ping", endpoint="ping")
    def health() -> Response:
        health = service.health()
        if health is not None:
            raise RequestError(503, "TEMPORARILY_UNAVAILABLE", health, retry_after=5)
        return jsonify(status="ok")

    @app.get("/metrics")
    def metrics() -> Response:
        text, content_type = service.metrics.render()
        return Response(text, content_type=content_type)

    @app.get("/v1/models")
    def models() -> Response:
        model = {"id": service.name, "object": "model", "created": 0, "owned_by": "driver"}
        return jsonify(object="list", data=[model])

    @app.get("/openapi.json")
    def openapi() -> Response:
        return jsonify(document(service.takes))


def add_key_check(app: Flask, key: str | None) -> None:
    """Refuse what does not carry the key, before anything is told about the path asked for."""
    if key is None:
        return

    @app.before_request
    def check() -> None:
        given = request.headers.get(KEY_HEADER, "")
        if request.endpoint in _NO_KEY_NEEDED or key_matches(given, key):
            return
        message = (
            f"The {KEY_HEADER} header is missing or wrong. LangChain clients send "
            f"driver_api_key=..., or {KEY_VARIABLE}; the server uses the key it was given, "
            "or printed when it was made."
        )
        raise RequestError(401, "UNAUTHENTICATED", message)


def add_request_log(app: Flask, service: DriverService) -> None:
    """Give each request an id, and log and count it once its answer is sent, without its texts."""

    @app.before_request
    def assign() -> None:
        g.request_id = uuid.uuid4().hex
        g.arrived = time.monotonic()

    @app.after_request
    def show(response: Response) -> Response:
        response.headers["X-Request-Id"] = g.request_id
        identity, arrived, status = g.request_id, g.arrived, response.status_code
        # A path that is not served is no label: a scanner would make thousands of them.
        route, size = request.endpoint or "other", request.content_length or 0

        @response.call_on_close
        def record() -> None:
            seconds = time.monotonic() - arrived
            service.metrics.count_request(route, status, seconds)
            level = logging.DEBUG if route in _NO_KEY_NEEDED else logging.INFO
            _log.log(level, "%s %s %d, %d bytes in, %.3f s", identity, route, status, size, seconds)

        return response


def add_error_form(app: Flask) -> None:
    """Answer every error with ``{"error_code": ..., "message": ...}`` and the right status."""

    @app.errorhandler(RequestError)
    def refused(error: RequestError) -> tuple[Response, int]:
        return _form(error), error.status

    @app.errorhandler(ClientGoneError)
    def gone(_error: ClientGoneError) -> tuple[Response, int]:
        refusal = RequestError(_CLIENT_CLOSED_REQUEST, "CANCELLED", "The client left.")
        return _form(refusal), refusal.status

    @app.errorhandler(HTTPException)
    def not_served(error: HTTPException) -> tuple[Response, int, list[tuple[str, str]]]:
        status = error.code or 500
        fallback = (error.name.upper().replace(" ", "_"), error.description or error.name)
        allow = [header for header in error.get_headers() if header[0] == "Allow"]
        return _form(RequestError(status, *_HTTP_ERRORS.get(status, fallback))), status, allow

    @app.errorhandler(Exception)
    def failed(error: Exception) -> tuple[Response, int]:
        refusal = _explain(error, g.request_id)
        return _form(refusal), refusal.status


def _view(
    service: DriverService,
    understand: Callable[[object, Capabilities], ParsedRequest],
    *,
    log_prompts: bool,
) -> Callable[[], Response]:
    def view() -> Response:
        # A web page may post text/plain to any host without asking; JSON it may not.
        if request.mimetype != "application/json":
            message = "Send JSON, with the header 'Content-Type: application/json'."
            raise RequestError(415, "UNSUPPORTED_MEDIA_TYPE", message)
        if request.content_encoding not in (None, "identity"):
            message = f"Send the body as it is, not as {request.content_encoding!r}."
            raise RequestError(415, "UNSUPPORTED_MEDIA_TYPE", message)
        payload = decode(request.get_data())
        ask = understand(payload, service.takes)
        if log_prompts:
            _log.info("%s asks %r", g.request_id, payload)
        # waitress's; another WSGI server tells nothing until something is written.
        gone = request.environ.get("waitress.client_disconnected", bool)
        if isinstance(ask, GenerationAsk) and _prefers_events(ask):
            ask = replace(ask, stream=True)
        if isinstance(ask, GenerationAsk) and ask.stream:
            identity = g.request_id
            events = service.stream(ask, gone, lambda error: _explain(error, identity))
            # no-transform, no-buffering: a proxy that collects events makes a stream useless.
            headers = {"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no"}
            return Response(events, content_type="text/event-stream", headers=headers)
        return jsonify(service.answer(ask, gone))

    return view


def _prefers_events(ask: GenerationAsk) -> bool:
    """Whether a client of the documented contract, which has no word for it, wants a stream."""
    one = ask.form == "text" and len(ask.requests) == 1
    return one and request.accept_mimetypes.best == "text/event-stream"


def _explain(error: Exception, request_id: str) -> RequestError:
    if isinstance(error, RequestError):
        return error
    # The text of an exception may hold paths, prompts or secrets: it stays on this side.
    _log.error("Request %s failed", request_id, exc_info=error)
    message = f"The model failed. The server's log says why, at request {request_id}."
    return RequestError(500, "INTERNAL_ERROR", message)


def _form(error: RequestError) -> Response:
    response = jsonify(error_code=error.error_code, message=error.message)
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(error.retry_after)
    return response
