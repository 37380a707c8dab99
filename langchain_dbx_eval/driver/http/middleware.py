"""What applies to all routes: request log, API key check, error responses, proxy paths."""

from __future__ import annotations

import logging
import re
import time
import uuid
from collections.abc import Iterable
from typing import TYPE_CHECKING

from flask import Flask, Response, g, jsonify, request
from werkzeug.exceptions import HTTPException

from langchain_dbx_eval.driver.errors import RequestError
from langchain_dbx_eval.driver.http.auth import KEY_HEADER, KEY_VARIABLE, key_matches
from langchain_dbx_eval.driver.runtime.metrics import Metrics
from langchain_dbx_eval.driver.runtime.request_context import ClientDisconnectedError

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

__all__ = [
    "ProxyPaths",
    "add_error_responses",
    "add_key_check",
    "add_request_log",
    "app_path",
    "to_request_error",
]

_log = logging.getLogger(__name__)

_CLIENT_CLOSED_REQUEST = 499  # nginx's status, which logs and dashboards use too
_SERVERLESS_PREFIX = re.compile(r"^/driver-proxy-http(?=/|$)")


def add_request_log(app: Flask, metrics: Metrics, debug_routes: frozenset[str]) -> None:
    """Assign an id to each request; log and count it when its response was sent.

    The log has sizes, not contents.

    Args:
        app: The app.
        metrics: The metrics of the app.
        debug_routes: Routes that are logged with the level DEBUG.
    """

    @app.before_request
    def assign_id() -> None:
        g.request_id = uuid.uuid4().hex
        g.started = time.monotonic()

    @app.after_request
    def log_when_sent(response: Response) -> Response:
        response.headers["X-Request-Id"] = g.request_id
        request_id, started, status = g.request_id, g.started, response.status_code
        # An unknown path is not a label: a scanner would create thousands of them.
        route, size = request.endpoint or "other", request.content_length or 0

        @response.call_on_close
        def log() -> None:
            seconds = time.monotonic() - started
            metrics.count_request(route, status, seconds)
            level = logging.DEBUG if route in debug_routes else logging.INFO
            line = "%s %s %d, %d bytes in, %.3f s"
            _log.log(level, line, request_id, route, status, size, seconds)

        return response


def add_key_check(app: Flask, key: str | None, public_routes: frozenset[str]) -> None:
    """Reject requests without the key, before the response reveals whether the path exists."""
    if key is None:
        return

    @app.before_request
    def check_key() -> None:
        candidate = request.headers.get(KEY_HEADER, "")
        if request.endpoint in public_routes or key_matches(candidate, key):
            return
        message = (
            f"The header {KEY_HEADER} is missing or wrong. LangChain clients send "
            f"driver_api_key=..., or {KEY_VARIABLE}. The key is the server's api_key=..., or was "
            "printed when the server was created."
        )
        raise RequestError(401, "UNAUTHENTICATED", message)


def add_error_responses(app: Flask, not_found_message: str) -> None:
    """Answer every error with ``{"error_code": ..., "message": ...}`` and its status."""
    http_errors = {
        404: ("ENDPOINT_NOT_FOUND", not_found_message),
        405: ("METHOD_NOT_ALLOWED", "This path needs another method: see the Allow header."),
        413: (
            "REQUEST_TOO_LARGE",
            "The body exceeds this server's max_request_bytes: send a shorter one.",
        ),
    }

    @app.errorhandler(RequestError)
    def on_request_error(error: RequestError) -> tuple[Response, int]:
        return _error_response(error), error.status

    @app.errorhandler(ClientDisconnectedError)
    def on_disconnect(_error: ClientDisconnectedError) -> tuple[Response, int]:
        error = RequestError(_CLIENT_CLOSED_REQUEST, "CANCELLED", "The client disconnected.")
        return _error_response(error), error.status

    @app.errorhandler(HTTPException)
    def on_http_error(error: HTTPException) -> tuple[Response, int, list[tuple[str, str]]]:
        status = error.code or 500
        fallback = (error.name.upper().replace(" ", "_"), error.description or error.name)
        allow = [header for header in error.get_headers() if header[0] == "Allow"]
        converted = RequestError(status, *http_errors.get(status, fallback))
        return _error_response(converted), status, allow

    @app.errorhandler(Exception)
    def on_exception(exception: Exception) -> tuple[Response, int]:
        error = to_request_error(exception, g.request_id)
        return _error_response(error), error.status


def to_request_error(exception: Exception, request_id: str) -> RequestError:
    """Return the error to send for an exception; any but a `RequestError` is logged."""
    if isinstance(exception, RequestError):
        return exception
    # The text of an exception may contain paths, prompts or secrets: it is not sent.
    _log.error("Request %s failed", request_id, exc_info=exception)
    message = f"The model failed. The server's log has the details under request {request_id}."
    return RequestError(500, "INTERNAL_ERROR", message)


def _error_response(error: RequestError) -> Response:
    response = jsonify(error_code=error.error_code, message=error.message)
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(error.retry_after)
    return response


def app_path(path: str) -> str:
    """Undo the changes of Databricks' driver proxy to a path.

    The proxy may double slashes, for which Flask would return a redirect; on serverless compute it
    keeps its own prefix (databricks/cli, ``experimental/ssh``), for which Flask would return a 404.

    Args:
        path: The path of the request, such as ``"/driver-proxy-http//health"``.

    Returns:
        The path of the route, such as ``"/health"``.
    """
    single = re.sub(r"/{2,}", "/", path)
    return _SERVERLESS_PREFIX.sub("", single) or "/"


class ProxyPaths:
    """WSGI middleware that applies `app_path` before the app routes a request."""

    def __init__(self, app: WSGIApplication) -> None:
        self._app = app

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Call the app with the path of the route."""
        environ["PATH_INFO"] = app_path(environ.get("PATH_INFO", ""))
        return self._app(environ, start_response)
