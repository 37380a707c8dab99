"""``langchain-dbx-eval serve``: run the driver server until a signal ends it."""

from __future__ import annotations

import argparse
import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

__all__ = ["add_command"]

_DESCRIPTION = """\
Serve a model over HTTP. Run it on the driver node of a cluster, and call it from
LangChain with Databricks(cluster_driver_port=…), ChatDatabricks(…) or
DatabricksEmbeddings(…); OpenAI's SDK and curl use /v1/chat/completions and the other
/v1 routes. Ctrl-C or SIGTERM stops it after the requests in flight have finished; a
second signal stops it at once. Each request is logged as one line on standard error."""

_EPILOG = """\
Examples:
  A Python function, no model needed:
    langchain-dbx-eval serve langchain_dbx_eval.demo.answerer:answer
  A model from a folder, on the first GPU (needs the extra 'transformers'):
    langchain-dbx-eval serve /Volumes/main/default/models/llama --dtype bfloat16
  Embeddings:
    langchain-dbx-eval serve ./all-MiniLM-L6-v2 --engine embeddings
  A vLLM server on the same node, with key, limits and exact stop strings. The key of that
  server is read from DBX_EVAL_UPSTREAM_API_KEY, because command lines are visible to every
  user of a machine:
    langchain-dbx-eval serve http://127.0.0.1:8000/v1 --model my-model

From a notebook on the same cluster:
  Databricks(cluster_driver_port="7777", driver_api_key="<the printed key>")"""


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command ``serve``."""
    parser = commands.add_parser(
        "serve",
        help="serve a model over HTTP, for Databricks(cluster_driver_port=…)",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "target",
        metavar="MODEL_OR_CALLABLE",
        help="package.module:function, a model's name or folder, or http://… of a model server",
    )
    parser.add_argument(
        "--engine",
        choices=["callable", "transformers", "upstream", "embeddings"],
        help="engine to use (default: inferred from MODEL_OR_CALLABLE; embeddings must be given)",
    )
    parser.add_argument("--model", help="upstream only: the model name to send to that server")
    parser.add_argument(
        "--device",
        help="transformers and embeddings only: cuda, cpu, … (default: an accelerator if present)",
    )
    parser.add_argument(
        "--dtype", help="transformers only: bfloat16, … (default: the dtype of the saved weights)"
    )
    parser.add_argument("--host", default="0.0.0.0", help="address to listen on (%(default)s)")  # noqa: S104 - the proxy reaches the driver by its network address
    parser.add_argument(
        "--port", default="7777", help="port; Databricks documents 3000-8000 (%(default)s)"
    )
    parser.add_argument(
        "--max-in-flight",
        type=int,
        default=64,
        metavar="N",
        help="concurrent requests; more are answered with 429 (%(default)s)",
    )
    parser.add_argument(
        "--timeout",
        type=float,
        default=290.0,
        metavar="SECONDS",
        help="per request, time in the queue included; then 504 (%(default)s)",
    )
    parser.add_argument(
        "--max-request-bytes",
        type=int,
        default=1 << 20,
        metavar="N",
        help="maximum size of a request body, else 413; raise it for base64 images (%(default)s)",
    )
    parser.add_argument(
        "--no-api-key",
        action="store_true",
        help="accept requests without a key; otherwise the key is DBX_EVAL_DRIVER_API_KEY, or a "
        "generated one that is printed",
    )
    parser.add_argument("--log-prompts", action="store_true", help="log the contents of requests")
    parser.add_argument(
        "--strict",
        action="store_true",
        help="reject parameters that the model does not take even if they have no effect (top_p=1) "
        "or the server applies them to a function's result (max_tokens)",
    )
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    from langchain_dbx_eval.driver import EngineOptions, Limits, serve

    # INFO for this package only: other libraries log too much at that level.
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("langchain_dbx_eval").setLevel(logging.INFO)
    api_key: Literal[False] | None = False if options.no_api_key else None
    limits = Limits(
        max_in_flight=options.max_in_flight,
        request_timeout=options.timeout,
        max_request_bytes=options.max_request_bytes,
    )
    with _default_sigint():
        serve(
            options.target,
            EngineOptions(options.engine, options.model, options.device, options.dtype),
            host=options.host,
            port=options.port,
            api_key=api_key,
            limits=limits,
            log_prompts=options.log_prompts,
            strict=options.strict,
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
