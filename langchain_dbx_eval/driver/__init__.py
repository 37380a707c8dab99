"""The reference driver server: any model on the driver node of a cluster, over HTTP.

It implements the protocol that the LangChain documentation defines for a "cluster driver proxy
app": ``POST /`` with ``{"prompt": str, "stop"?: [str], ...}`` returns a JSON string. In a notebook
cell::

    from langchain_dbx_eval.driver import DriverServer

    def answer(prompt: str, stop: list[str] | None = None, temperature: float = 0.0) -> str:
        return my_model(prompt, temperature)

    server = DriverServer(answer, port=7777).start()

Flask and waitress (``pip install 'langchain-dbx-eval[driver]'``) are imported when a server is
created.

Modules:
    server: `DriverServer`, the process side: port, start, signals, graceful stop.
    loading: `serve` and `load_engine`, for the command line.
    http: from a socket to a parsed request: waitress, the Flask app, its routes, the API key.
    executor: from a parsed request to a result: admission, deadline, engine, metrics.
    protocol: request and response formats.
    engines: what generates text or computes embeddings.
    runtime: admission, limits, deadlines, cancellation, stop strings, metrics.
    errors: `RequestError`, which rejects a request.
"""

from __future__ import annotations

from langchain_dbx_eval.driver.engines.base import (
    BatchEngine,
    ChatEngine,
    Delta,
    Embedder,
    EmbeddingResult,
    Engine,
    EngineLifecycle,
    FinishReason,
    Generation,
    GenerationRequest,
    StreamingEngine,
)
from langchain_dbx_eval.driver.engines.embedding import EmbeddingEngine
from langchain_dbx_eval.driver.engines.function import STANDARD_PARAMETERS, CallableEngine
from langchain_dbx_eval.driver.engines.upstream.engine import UpstreamEngine
from langchain_dbx_eval.driver.errors import RequestError
from langchain_dbx_eval.driver.http.app import create_app
from langchain_dbx_eval.driver.loading import EngineOptions, load_engine, serve
from langchain_dbx_eval.driver.runtime.limits import Limits
from langchain_dbx_eval.driver.runtime.request_context import RequestContext
from langchain_dbx_eval.driver.server import DriverServer

__all__ = [
    "STANDARD_PARAMETERS",
    "BatchEngine",
    "CallableEngine",
    "ChatEngine",
    "Delta",
    "DriverServer",
    "Embedder",
    "EmbeddingEngine",
    "EmbeddingResult",
    "Engine",
    "EngineLifecycle",
    "EngineOptions",
    "FinishReason",
    "Generation",
    "GenerationRequest",
    "Limits",
    "RequestContext",
    "RequestError",
    "StreamingEngine",
    "UpstreamEngine",
    "create_app",
    "load_engine",
    "serve",
]
