"""The Flask app of the driver server. Flask is imported by `create_app`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from langchain_dbx_eval._internal.imports import require
from langchain_dbx_eval.driver.engines.base import Embedder, Engine
from langchain_dbx_eval.driver.engines.function import CallableEngine
from langchain_dbx_eval.driver.http.auth import ApiKey, resolve_key
from langchain_dbx_eval.driver.runtime.limits import Limits

if TYPE_CHECKING:
    from flask import Flask

    from langchain_dbx_eval.driver.executor import RequestExecutor

__all__ = ["create_app", "executor_of", "key_of"]

_EXTENSION = "langchain_dbx_eval.driver"
_KEY_EXTENSION = f"{_EXTENSION}.key"


def create_app(
    engine: Engine | Embedder | Callable[..., Any],
    *,
    api_key: ApiKey = None,
    limits: Limits | None = None,
    log_prompts: bool = False,
    strict: bool = False,
) -> Flask:
    """Create the WSGI app of the driver server, for any WSGI server.

    ``POST /`` is the documented protocol; ``/invocations``, ``/v1/chat/completions``,
    ``/v1/completions`` and ``/v1/embeddings`` are MLflow's and OpenAI's APIs; ``GET /health``
    returns whether the engine can answer, and needs no key. Every error is
    ``{"error_code", "message", "error"}``, with OpenAI's form of the same under ``error``. Every
    response has an ``X-Request-Id``, under which the server's log has the details.

    Args:
        engine: The model, or a function as for `CallableEngine`.
        api_key: The key that a request must send as ``X-Api-Key``, or, without the driver proxy, as
            ``Authorization: Bearer``. None: the environment variable ``DBX_EVAL_DRIVER_API_KEY``,
            or a generated key, which is printed and assigned to that variable. False: no key is
            required.
        limits: The limits of the server; default: `Limits()`.
        log_prompts: Whether to log the body of each request. An exception of the engine is always
            logged with its text.
        strict: Whether to reject a parameter that the engine does not take even if its value has
            no effect, such as ``top_p=1``, or if the server applies it to the result of a
            function, such as ``max_tokens``.

    Returns:
        The app.

    Raises:
        ConfigurationError: The key or the function is not supported.
        MissingDependencyError: Flask or another part of the extra ``driver`` is not installed.
    """
    flask = require("flask", extra="driver")
    from langchain_dbx_eval.driver.executor import RequestExecutor
    from langchain_dbx_eval.driver.http import middleware, routes  # import Flask

    limits = limits or Limits()
    if not isinstance(engine, Engine | Embedder):
        engine = CallableEngine(engine, max_concurrency=limits.max_in_flight)
    executor = RequestExecutor(engine, limits, strict=strict)
    app: Flask = flask.Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = limits.max_request_bytes
    # NaN and Infinity are not JSON: an engine that returns them has failed.
    app.json = provider = flask.json.provider.DefaultJSONProvider(app)
    provider.dumps = partial(provider.dumps, allow_nan=False)
    app.wsgi_app = middleware.with_app_paths(app.wsgi_app)  # type: ignore[assignment,method-assign]
    app.extensions[_EXTENSION] = executor
    app.extensions[_KEY_EXTENSION] = key = resolve_key(api_key)
    public = frozenset(route.path for route in routes.ROUTES if not route.needs_key)
    middleware.add_request_log(app, executor.metrics, debug_routes=public)
    middleware.add_key_check(app, key, public)
    middleware.add_error_responses(app, routes.not_found_message())
    routes.add_routes(app, executor, log_prompts=log_prompts)
    return app


def executor_of(app: Flask) -> RequestExecutor:
    """Return the executor of an app that `create_app` created."""
    executor: RequestExecutor = app.extensions[_EXTENSION]
    return executor


def key_of(app: Flask) -> str | None:
    """Return the key that requests to an app of `create_app` must send; None: they need none."""
    key: str | None = app.extensions[_KEY_EXTENSION]
    return key
