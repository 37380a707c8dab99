"""From the words of a command line to an engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from langchain_dbx_eval.driver.engines.base import Embedder, Engine
from langchain_dbx_eval.driver.engines.embedding import EmbeddingEngine
from langchain_dbx_eval.driver.engines.function import CallableEngine
from langchain_dbx_eval.driver.engines.upstream import UpstreamEngine
from langchain_dbx_eval.driver.http.auth import ApiKey, upstream_key
from langchain_dbx_eval.driver.runtime.admission import MAX_IN_FLIGHT
from langchain_dbx_eval.driver.runtime.limits import Limits
from langchain_dbx_eval.driver.server import EVERY_ADDRESS, DriverServer
from langchain_dbx_eval.errors import ConfigurationError

__all__ = ["ENGINE_KINDS", "EngineKind", "EngineOptions", "load_engine", "serve"]

EngineKind = Literal["callable", "transformers", "upstream", "embeddings"]
ENGINE_KINDS: tuple[EngineKind, ...] = ("callable", "transformers", "upstream", "embeddings")


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """Which engine to make of a target.

    Attributes:
        kind: The engine; ``None`` tells it by the target: an ``http(s)://`` address is upstream,
            ``package.module:function`` a callable, anything else a model for transformers.
        model: The model to ask an upstream server for.
        device: Where a model runs, such as ``"cuda"``.
        dtype: The type of its numbers, such as ``"bfloat16"``.
    """

    kind: EngineKind | None = None
    model: str | None = None
    device: str | None = None
    dtype: str | None = None


def load_engine(
    target: str, choice: EngineOptions, max_concurrency: int = MAX_IN_FLIGHT
) -> Engine | Embedder:
    """Make the engine that serves a target.

    Args:
        target: ``"package.module:function"``, a model's name or folder, or an address, whose key
            is the variable ``DBX_EVAL_UPSTREAM_API_KEY``.
        choice: Which engine, and how.
        max_concurrency: The most calls of a function at once.

    Returns:
        The engine, its model loaded.

    Raises:
        ConfigurationError: The target cannot be loaded so.
        MissingDependencyError: The engine's extra is not installed.
    """
    kind = choice.kind or _kind_of(target)
    if kind == "callable":
        return CallableEngine.load(target, max_concurrency=max_concurrency)
    if kind == "upstream":
        if choice.model is None:
            msg = "An upstream server is asked for a model: name it with --model."
            raise ConfigurationError(msg)
        return UpstreamEngine(target, choice.model, api_key=upstream_key())
    if kind == "embeddings":
        return EmbeddingEngine(target, device=choice.device)
    from langchain_dbx_eval.driver.engines.transformers.engine import (
        TransformersEngine,  # imports torch
    )

    return TransformersEngine(target, device=choice.device, dtype=choice.dtype)


def serve(
    target: str,
    choice: EngineOptions | None = None,
    *,
    host: str = EVERY_ADDRESS,
    port: int | str = 7777,
    api_key: ApiKey = None,
    limits: Limits | None = None,
    log_prompts: bool = False,
) -> None:
    """Serve a target until SIGTERM or Ctrl-C.

    Args:
        target: As for `load_engine`; for a function, the current directory counts.
        choice: As for `load_engine`; default: told by the target.
        host: As for `DriverServer`.
        port: As for `DriverServer`.
        api_key: As for `DriverServer`.
        limits: As for `DriverServer`.
        log_prompts: As for `DriverServer`.

    Raises:
        ConfigurationError: The target cannot be loaded, or the port or a key not be used.
        DriverServerError: The port is in use, or the address is not this machine's.
        MissingDependencyError: An extra is not installed.
    """
    limits = limits or Limits()
    engine = load_engine(target, choice or EngineOptions(), limits.max_in_flight)
    DriverServer(
        engine, host=host, port=port, api_key=api_key, limits=limits, log_prompts=log_prompts
    ).serve_forever()


def _kind_of(target: str) -> EngineKind:
    if target.startswith(("http://", "https://")):
        return "upstream"
    return "callable" if ":" in target else "transformers"
