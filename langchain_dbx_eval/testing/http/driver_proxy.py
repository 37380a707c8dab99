"""The driver proxy: forwards to a port of this machine as Databricks does to the driver node.

The path is undocumented. What it does was read in the databricks/cli sources
(`experimental/ssh`) and in published measurements: the prefix is cut off, the bearer token is
consumed and not passed on, a port where nothing listens is a 502 in HTML.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from http.client import HTTPConnection, HTTPException, HTTPResponse

from flask import Request, Response
from werkzeug.routing import BaseConverter

__all__ = ["METHODS", "AppPath", "forward"]

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

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
_CHUNK = 65536
_BAD_GATEWAY = (
    "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n"
    "<body>\r\n<center><h1>502 Bad Gateway</h1></center>\r\n</body>\r\n</html>\r\n"
)


class AppPath(BaseConverter):
    """Any path in a route, also one that is empty or begins with a slash."""

    regex = ".*?"
    part_isolating = False


def forward(request: Request, port: int) -> Response:
    """Pass a request on to ``http://127.0.0.1:{port}`` and its answer back as it arrives.

    Args:
        request: The request as it came, with the prefix in its path.
        port: Where the app listens.

    Returns:
        The app's answer, or a 502 where it gave none.
    """
    connection = HTTPConnection("127.0.0.1", port)
    try:
        connection.request(
            request.method,
            _target(request.environ["REQUEST_URI"]),
            body=request.get_data() or None,
            headers=dict(_end_to_end(request.headers.items(), also=_CONSUMED)),
        )
        answer = connection.getresponse()
    except (OSError, HTTPException):
        connection.close()
        return Response(_BAD_GATEWAY, 502, mimetype="text/html")
    response = Response(_chunks(answer), answer.status)
    response.call_on_close(connection.close)
    response.headers.clear()
    for name, value in _end_to_end(answer.getheaders()):
        response.headers.add(name, value)
    return response


def _target(uri: str) -> str:
    """The path and query for the app, just as the client encoded them."""
    path, mark, query = uri.partition("?")
    parts = path.split("/", _PREFIX_PARTS)
    rest = parts[_PREFIX_PARTS] if len(parts) > _PREFIX_PARTS else ""
    return f"/{rest}{mark}{query}"


def _end_to_end(
    headers: Iterable[tuple[str, str]], *, also: frozenset[str] = frozenset()
) -> Iterator[tuple[str, str]]:
    pairs = list(headers)
    listed = (value for name, value in pairs if name.lower() == "connection")
    named = {token.strip().lower() for value in listed for token in value.split(",")}
    dropped = _HOP_BY_HOP | named | also
    return (pair for pair in pairs if pair[0].lower() not in dropped)


def _chunks(answer: HTTPResponse) -> Iterator[bytes]:
    try:
        # `read1` returns what has arrived; `read` would hold events back to fill a buffer.
        while chunk := answer.read1(_CHUNK):
            yield chunk
    except HTTPException as error:
        # To the server an OSError means: hang up without an end, as the app did.
        raise ConnectionResetError from error
    if answer.length:
        raise ConnectionResetError
