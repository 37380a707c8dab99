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

from langchain_dbx_eval._internal.log import get_logger
from langchain_dbx_eval.driver.errors import RequestError, error_body, to_request_error
from langchain_dbx_eval.driver.http.auth import KEY_HEADER, KEY_VARIABLE, has_key
from langchain_dbx_eval.driver.runtime.metrics import Metrics

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

__all__ = ["add_error_responses", "add_key_check", "add_request_log", "app_path", "with_app_paths"]

_log = get_logger(__name__)

_PROXY_PREFIX = re.compile(r"^/driver-proxy-(http|api/o/[^/]+/[^/]+/[0-9]+)(?=/|$)")


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
    """Reject requests without the key, before the response reveals whether the path exists.

    The key is accepted as ``Authorization: Bearer`` too. The driver proxy does not forward that
    header, so a request that has it was sent to the port directly, by a client on the node.
    """
    if key is None:
        return

    @app.before_request
    def check_key() -> None:
        sent = (request.headers.get(name, "") for name in (KEY_HEADER, "Authorization"))
        if request.endpoint in public_routes or has_key(key, *sent):
            return
        message = (
            f"The header {KEY_HEADER} is missing or wrong. LangChain clients send "
            f"driver_api_key=..., or {KEY_VARIABLE}; clients on this node may send the key as "
            "Authorization: Bearer, which the driver proxy does not forward. The key is the "
            "server's api_key=..., or was printed when the server was created."
        )
        raise RequestError(401, "UNAUTHENTICATED", message)


def add_error_responses(app: Flask, not_found_message: str) -> None:
    """Answer every error with its status and `error_body`."""
    http_errors = {
        404: ("ENDPOINT_NOT_FOUND", not_found_message),
        405: ("METHOD_NOT_ALLOWED", "This path needs another method: see the Allow header."),
        413: (
            "REQUEST_TOO_LARGE",
            "The body exceeds this server's max_request_bytes: send a shorter one.",
        ),
    }

    @app.errorhandler(Exception)
    def respond(exception: Exception) -> Response:
        headers = {}
        if isinstance(exception, HTTPException):
            status = exception.code or 500
            fallback = (
                exception.name.upper().replace(" ", "_"),
                exception.description or exception.name,
            )
            headers = {k: value for k, value in exception.get_headers() if k == "Allow"}
            exception = RequestError(status, *http_errors.get(status, fallback))
        error = to_request_error(exception, g.request_id)
        if error.retry_after is not None:
            headers["Retry-After"] = str(error.retry_after)
        return app.make_response((jsonify(error_body(error)), error.status, headers))


def app_path(path: str) -> str:
    """Undo the changes of Databricks' driver proxy to a path.

    The proxy may double slashes, for which Flask would return a redirect; on serverless compute it
    keeps its own prefix (databricks/cli, ``experimental/ssh``), for which Flask would return a 404.
    A client that always adds the proxy's prefix, such as langchain-community's `Databricks`, may
    call the server directly.

    Args:
        path: The path of the request, such as ``"/driver-proxy-http//health"``.

    Returns:
        The path of the route, such as ``"/health"``.
    """
    single = re.sub(r"/{2,}", "/", path)
    return _PROXY_PREFIX.sub("", single) or "/"


def with_app_paths(app: WSGIApplication) -> WSGIApplication:
    """Return a WSGI app that applies `app_path` before `app` routes a request."""

    def routed(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        environ["PATH_INFO"] = app_path(environ.get("PATH_INFO", ""))
        return app(environ, start_response)

    return routed
