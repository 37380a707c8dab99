"""The paths that Databricks' driver proxy sends, made into those that the app knows."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

__all__ = ["ProxyPaths", "app_path"]

_SERVERLESS_PREFIX = re.compile(r"^/driver-proxy-http(?=/|$)")


def app_path(path: str) -> str:
    """Undo what the driver proxy does to a path.

    It may double slashes, and on serverless compute it leaves its own prefix
    (databricks/cli, ``experimental/ssh``). Left alone, the first makes Flask redirect and the
    second is a 404.

    Args:
        path: The path as it arrived, such as ``"/driver-proxy-http//health"``.

    Returns:
        The app's own path, such as ``"/health"``.
    """
    single = re.sub(r"/{2,}", "/", path)
    return _SERVERLESS_PREFIX.sub("", single) or "/"


class ProxyPaths:
    """WSGI middleware that applies `app_path` before the app routes a request."""

    def __init__(self, app: WSGIApplication) -> None:
        self._app = app

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Call the app with the path that it knows."""
        environ["PATH_INFO"] = app_path(environ.get("PATH_INFO", ""))
        return self._app(environ, start_response)
