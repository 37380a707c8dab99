"""The Flask app that a driver server runs. Flask itself loads only when one is made."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from langchain_dbx_eval._internal.extras import require
from langchain_dbx_eval.driver.engines.base import Embedder, Engine
from langchain_dbx_eval.driver.engines.function import CallableEngine
from langchain_dbx_eval.driver.http.auth import ApiKey, resolve_key
from langchain_dbx_eval.driver.http.proxy_paths import ProxyPaths
from langchain_dbx_eval.driver.runtime.limits import Limits

if TYPE_CHECKING:
    from flask import Flask

    from langchain_dbx_eval.driver.service import DriverService

__all__ = ["create_app", "service_of"]

_SERVICE = "langchain_dbx_eval.driver"


def create_app(
    engine: Engine | Embedder | Callable[..., Any],
    *,
    api_key: ApiKey = None,
    limits: Limits | None = None,
    log_prompts: bool = False,
) -> Flask:
    """Make the driver server's WSGI app, to be run by any WSGI server.

    ``POST /`` is the documented contract; ``/invocations``, ``/v1/chat/completions``,
    ``/v1/completions`` and ``/v1/embeddings`` speak MLflow's and OpenAI's APIs; ``GET /health``
    tells whether the engine can answer, without a key. Every error is
    ``{"error_code": ..., "message": ...}``, and every answer carries an ``X-Request-Id`` under
    which the server's log has the details.

    Args:
        engine: The model, or a function as `CallableEngine` takes it.
        api_key: What a request must carry as ``X-Api-Key``. ``None`` takes the variable
            ``DBX_EVAL_DRIVER_API_KEY`` or makes a key, prints it and sets that variable;
            ``False`` asks for no key.
        limits: How many requests at once, how long and how large; default: `Limits()`.
        log_prompts: Whether each request is logged with what the client sent. An exception of the
            engine is logged with its text in any case.

    Returns:
        The app.

    Raises:
        ConfigurationError: The key or the function cannot be used.
        MissingDependencyError: Flask or another part of the extra ``driver`` is not installed.
    """
    flask = require("flask", extra="driver")
    from langchain_dbx_eval.driver.http import routes  # imports Flask
    from langchain_dbx_eval.driver.service import DriverService

    limits = limits or Limits()
    if not isinstance(engine, Engine | Embedder):
        engine = CallableEngine(engine, max_concurrency=limits.max_in_flight)
    service = DriverService(engine, limits)
    app: Flask = flask.Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = limits.max_request_bytes
    app.wsgi_app = ProxyPaths(app.wsgi_app)  # type: ignore[method-assign]
    app.extensions[_SERVICE] = service
    routes.add_request_log(app, service)
    routes.add_key_check(app, resolve_key(api_key))
    routes.add_error_form(app)
    routes.add_routes(app, service, log_prompts=log_prompts)
    return app


def service_of(app: Flask) -> DriverService:
    """The engine and its rules behind an app that `create_app` made."""
    service: DriverService = app.extensions[_SERVICE]
    return service
