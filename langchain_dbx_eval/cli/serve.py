"""``langchain-dbx-eval serve``: run the driver server until a signal ends it."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Annotated

import typer

__all__ = ["add_to"]


class _Engine(str, Enum):
    CALLABLE = "callable"
    TRANSFORMERS = "transformers"
    UPSTREAM = "upstream"
    EMBEDDINGS = "embeddings"


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("serve")(serve)


def serve(
    target: Annotated[
        str,
        typer.Argument(
            metavar="MODEL_OR_CALLABLE",
            help="package.module:function, a model's name or folder, or http://… of a model "
            "server (or of several, separated by commas).",
            show_default=False,
        ),
    ],
    engine: Annotated[
        _Engine | None,
        typer.Option(
            help="Engine. [default: inferred from MODEL_OR_CALLABLE; embeddings must be given]"
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="upstream only: the model name to send to that server.")
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            help="transformers, embeddings: cuda, cpu, … [default: an accelerator if present]"
        ),
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option(help="transformers: bfloat16, … [default: that of the saved weights]"),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "0.0.0.0",  # noqa: S104 - the proxy reaches the driver by its network address
    port: Annotated[str, typer.Option(help="Port; Databricks documents 3000-8000.")] = "7777",
    max_in_flight: Annotated[
        int, typer.Option(help="Concurrent requests; more are answered with 429.", metavar="N")
    ] = 64,
    timeout: Annotated[
        float,
        typer.Option(
            help="Seconds per request, time in the queue included; then 504.", metavar="SECONDS"
        ),
    ] = 290.0,
    max_request_bytes: Annotated[
        int,
        typer.Option(
            help="Largest request body, else 413; raise it for base64 images.", metavar="N"
        ),
    ] = 1 << 20,
    no_api_key: Annotated[
        bool,
        typer.Option(
            "--no-api-key",
            help="Accept requests without a key; otherwise the key is DBX_EVAL_DRIVER_API_KEY, or "
            "a generated one that is printed.",
        ),
    ] = False,
    log_prompts: Annotated[
        bool, typer.Option("--log-prompts", help="Log the contents of requests.")
    ] = False,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict",
            help="Reject parameters that the model does not take even if they have no effect "
            "(top_p=1) or the server applies them to a function's result (max_tokens).",
        ),
    ] = False,
) -> None:
    """Serve a model over HTTP, for Databricks(cluster_driver_port=…).

    Run it on the driver node of a cluster, and call it from LangChain with
    Databricks(cluster_driver_port=…), ChatDatabricks(…) or DatabricksEmbeddings(…); OpenAI's SDK
    and curl use /v1/chat/completions and the other /v1 routes. Ctrl-C or SIGTERM stops it after the
    requests in flight have finished; a second signal stops it at once. Each request is logged as
    one line on standard error.

    \b
    Examples:
      A Python function, no model needed:
        langchain-dbx-eval serve langchain_dbx_eval.demo.answerer:answer
      A model from a folder, on the first GPU (needs the extra 'transformers'):
        langchain-dbx-eval serve /Volumes/main/default/models/llama --dtype bfloat16
      Embeddings:
        langchain-dbx-eval serve ./all-MiniLM-L6-v2 --engine embeddings
      A vLLM server on the same node, with key, limits and exact stop strings.
      Its key is read from DBX_EVAL_UPSTREAM_API_KEY, because command lines are
      visible to every user of a machine:
        langchain-dbx-eval serve http://127.0.0.1:8000/v1 --model my-model

    \b
    From a notebook on the same cluster:
      Databricks(cluster_driver_port="7777", driver_api_key="<the printed key>")
    """
    from langchain_dbx_eval.driver import EngineOptions, Limits
    from langchain_dbx_eval.driver import serve as serve_model

    # INFO for this package only: other libraries log too much at that level.
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    log = logging.getLogger("langchain_dbx_eval")
    log.handlers.clear()  # each line once
    log.setLevel(logging.INFO)
    limits = Limits(
        max_in_flight=max_in_flight,
        request_timeout=timeout,
        max_request_bytes=max_request_bytes,
    )
    with _default_sigint():
        serve_model(
            target,
            EngineOptions(engine.value if engine else None, model, device, dtype),
            host=host,
            port=port,
            api_key=False if no_api_key else None,
            limits=limits,
            log_prompts=log_prompts,
            strict=strict,
        )


@contextmanager
def _default_sigint() -> Iterator[None]:
    """Let a Ctrl-C that the server does not handle end the process at once, as SIGTERM does.

    A KeyboardInterrupt would give the server's threads time to log a traceback per open request.
    """
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
