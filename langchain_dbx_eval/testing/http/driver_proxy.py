"""The driver proxy, which forwards requests to a port of this machine.

The path is undocumented. Its behavior is known from the databricks/cli sources
(`experimental/ssh`) and from published measurements: it removes the prefix of the path, consumes
the bearer token, and returns 502 in HTML for a port without a listener.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Any

from flask import Flask, Response, request
from werkzeug.routing import BaseConverter

__all__ = ["add_driver_proxy_routes"]

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

_HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_CONSUMED = frozenset({"authorization", "cookie", "host", "content-length"})
_PREFIX_PARTS = 6
_CHUNK_BYTES = 65536
_BAD_GATEWAY = (
    "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n"
    "<body>\r\n<center><h1>502 Bad Gateway</h1></center>\r\n</body>\r\n</html>\r\n"
)


class _AppPath(BaseConverter):
    """A path in a route that may be empty or begin with a slash."""

    regex = ".*?"
    part_isolating = False


def add_driver_proxy_routes(app: Flask) -> None:
    """Add the routes of the driver proxy to the workspace's application."""
    app.url_map.converters["app_path"] = _AppPath
    base = "/driver-proxy-api/o/<org>/<cluster>/<int(min=1, max=65535):port>"
    options: dict[str, Any] = {"methods": _METHODS, "provide_automatic_options": False}

    @app.route(base, **options)
    @app.route(f"{base}/<app_path:path>", **options)
    def proxy(port: int, **_: str) -> Response:
        return _forward(port)


def _forward(port: int) -> Response:
    """Send the current request to ``http://127.0.0.1:{port}``, and stream its response."""
    connection = HTTPConnection("127.0.0.1", port)
    try:
        connection.request(
            request.method,
            _target(request.environ["REQUEST_URI"]),
            body=request.get_data() or None,
            headers=dict(_end_to_end(request.headers.items(), excluded=_CONSUMED)),
        )
        upstream = connection.getresponse()
    except (OSError, HTTPException):
        connection.close()
        return Response(_BAD_GATEWAY, 502, mimetype="text/html")
    response = Response(_chunks(upstream), upstream.status)
    response.call_on_close(connection.close)
    response.headers.clear()
    for name, value in _end_to_end(upstream.getheaders()):
        response.headers.add(name, value)
    return response


def _target(uri: str) -> str:
    """Return the path and query for the app, as the client encoded them."""
    path, mark, query = uri.partition("?")
    parts = path.split("/", _PREFIX_PARTS)
    rest = parts[_PREFIX_PARTS] if len(parts) > _PREFIX_PARTS else ""
    return f"/{rest}{mark}{query}"


def _end_to_end(
    headers: Iterable[tuple[str, str]], *, excluded: frozenset[str] = frozenset()
) -> Iterator[tuple[str, str]]:
    pairs = list(headers)
    connection = (value for name, value in pairs if name.lower() == "connection")
    listed = {token.strip().lower() for value in connection for token in value.split(",")}
    dropped = _HOP_BY_HOP | listed | excluded
    return (pair for pair in pairs if pair[0].lower() not in dropped)


def _chunks(upstream: HTTPResponse) -> Iterator[bytes]:
    try:
        # `read1` returns the bytes that have arrived; `read` would wait to fill its buffer.
        while chunk := upstream.read1(_CHUNK_BYTES):
            yield chunk
    except HTTPException as error:
        # The server closes the connection when the body raises OSError, as the app did.
        raise ConnectionResetError from error
    if upstream.length:
        raise ConnectionResetError
