"""The reference driver server: any model on a cluster's driver node, behind an HTTP port.

It speaks the protocol that the LangChain documentation gives for a "cluster driver proxy app":
``POST /`` takes ``{"prompt": str, "stop"?: [str], ...}`` and answers with a JSON string.

In a notebook cell::

    from langchain_dbx_eval.driver import DriverServer

    def answer(prompt: str, stop: list[str] | None = None, temperature: float = 0.0) -> str:
        return my_model(prompt, temperature)

    server = DriverServer(answer, port=7777).start()

Flask and waitress (``pip install 'langchain-dbx-eval[driver]'``) load when a server is made.
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
from langchain_dbx_eval.driver.engines.upstream import UpstreamEngine
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
