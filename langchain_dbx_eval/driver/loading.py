"""Engines and servers from the arguments of the command line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from langchain_dbx_eval._internal.imports import require
from langchain_dbx_eval.driver.engines.base import Embedder, Engine
from langchain_dbx_eval.driver.engines.embedding import EmbeddingEngine
from langchain_dbx_eval.driver.engines.function import CallableEngine
from langchain_dbx_eval.driver.engines.upstream.engine import UpstreamEngine
from langchain_dbx_eval.driver.http.auth import ApiKey, upstream_key
from langchain_dbx_eval.driver.runtime.limits import MAX_IN_FLIGHT, Limits
from langchain_dbx_eval.driver.server import ALL_INTERFACES, DriverServer
from langchain_dbx_eval.errors import ConfigurationError

__all__ = ["EngineKind", "EngineOptions", "load_engine", "serve"]

EngineKind = Literal["callable", "transformers", "upstream", "embeddings"]


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """The engine to create for a target.

    Attributes:
        kind: The kind of engine; None: inferred from the target. An ``http(s)://`` address is
            upstream, ``package.module:function`` a callable, anything else a model for
            transformers.
        model: The model name to send to an upstream server.
        device: The torch device, such as ``"cuda"``; None: an accelerator if present.
        dtype: The torch dtype, such as ``"bfloat16"``; None: the dtype of the saved weights.
    """

    kind: EngineKind | None = None
    model: str | None = None
    device: str | None = None
    dtype: str | None = None


def load_engine(
    target: str, options: EngineOptions, max_concurrency: int = MAX_IN_FLIGHT
) -> Engine | Embedder:
    """Create the engine for a target.

    Args:
        target: ``"package.module:function"``, the name or folder of a model, or the address of an
            upstream server, or of several, separated by commas. Their key is the environment
            variable ``DBX_EVAL_UPSTREAM_API_KEY``.
        options: The kind of engine, and its options.
        max_concurrency: The maximum number of concurrent calls of a function.

    Returns:
        The engine, with its model loaded.

    Raises:
        ConfigurationError: The target cannot be loaded with these options.
        MissingDependencyError: The extra of the engine is not installed.
    """
    kind = options.kind or _infer_kind(target)
    if kind == "callable":
        return CallableEngine.load(target, max_concurrency=max_concurrency)
    if kind == "upstream":
        if options.model is None:
            msg = "An upstream server needs the name of a model: set it with --model."
            raise ConfigurationError(msg)
        return UpstreamEngine(target.split(","), options.model, api_key=upstream_key())
    if kind == "embeddings":
        return EmbeddingEngine(target, device=options.device)
    for module in ("torch", "transformers"):
        require(module, extra="transformers")
    from langchain_dbx_eval.driver.engines.transformers.engine import TransformersEngine

    return TransformersEngine(target, device=options.device, dtype=options.dtype)


def serve(
    target: str,
    options: EngineOptions | None = None,
    *,
    host: str = ALL_INTERFACES,
    port: int | str = 7777,
    api_key: ApiKey = None,
    limits: Limits | None = None,
    log_prompts: bool = False,
    strict: bool = False,
) -> None:
    """Serve a target until SIGTERM or Ctrl-C.

    Args:
        target: As for `load_engine`; a function is also searched for in the current directory.
        options: As for `load_engine`; default: inferred from the target.
        host: As for `DriverServer`.
        port: As for `DriverServer`.
        api_key: As for `DriverServer`.
        limits: As for `DriverServer`.
        log_prompts: As for `DriverServer`.
        strict: As for `DriverServer`.

    Raises:
        ConfigurationError: The target cannot be loaded, or the port or a key is not supported.
        DriverServerError: The port is in use, or the address does not belong to this machine.
        MissingDependencyError: An extra is not installed.
    """
    limits = limits or Limits()
    engine = load_engine(target, options or EngineOptions(), limits.max_in_flight)
    DriverServer(
        engine,
        host=host,
        port=port,
        api_key=api_key,
        limits=limits,
        log_prompts=log_prompts,
        strict=strict,
    ).serve_forever()


def _infer_kind(target: str) -> EngineKind:
    if target.startswith(("http://", "https://")):
        return "upstream"
    return "callable" if ":" in target else "transformers"
