"""The command line: a thin shell over the package."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

from langchain_dbx_eval._version import __version__
from langchain_dbx_eval.errors import DatabricksError

__all__ = ["main"]

_SERVE_DESCRIPTION = """\
Serve a model over HTTP. Run it on the driver node of a cluster, and call it from
LangChain with Databricks(cluster_driver_port=…), ChatDatabricks(…) or
DatabricksEmbeddings(…); OpenAI's SDK and curl find /v1/chat/completions and its
siblings. It stops at Ctrl-C or SIGTERM, after the requests in flight; a second one does
not wait for them. Each request is a line on standard error."""

_SERVE_EPILOG = """\
Examples:
  A Python function, no model needed:
    langchain-dbx-eval serve langchain_dbx_eval.demo.answerer:answer
  A model from a folder, on the first GPU (needs the extra 'transformers'):
    langchain-dbx-eval serve /Volumes/main/default/models/llama --dtype bfloat16
  Embeddings:
    langchain-dbx-eval serve ./all-MiniLM-L6-v2 --engine embeddings
  A vLLM server on the same node, with key, limits and exact stop strings; that server's own
  key comes from DBX_EVAL_UPSTREAM_API_KEY, for all users of a machine see its command lines:
    langchain-dbx-eval serve http://127.0.0.1:8000/v1 --model my-model

From the notebook of the same cluster:
  Databricks(cluster_driver_port="7777", driver_api_key="<the key that was printed>")"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: The words after the command's name; default: those of this process.

    Returns:
        The exit status: 0, or 1 after an error, which has been told on standard error.
    """
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except DatabricksError as error:
        print(f"langchain-dbx-eval: {error}", file=sys.stderr)  # noqa: T201 - this is a terminal
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="langchain-dbx-eval",
        description="LangChain on Databricks: serve a model from a driver node, evaluate a chain.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_serve(commands)
    _add_demo(commands)
    _add_sync(commands)
    return parser


def _add_serve(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    serve = commands.add_parser(
        "serve",
        help="serve a model over HTTP, for Databricks(cluster_driver_port=…)",
        description=_SERVE_DESCRIPTION,
        epilog=_SERVE_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    serve.add_argument(
        "target",
        metavar="MODEL_OR_CALLABLE",
        help="package.module:function, a model's name or folder, or http://… of a model server",
    )
    serve.add_argument(
        "--engine",
        choices=["callable", "transformers", "upstream", "embeddings"],
        help="what serves the target; without it, the target's form tells (embeddings never)",
    )
    serve.add_argument("--model", help="for upstream: the model to ask that server for")
    serve.add_argument(
        "--device",
        help="for transformers, embeddings: cuda, cpu, … (default: an accelerator if there is one)",
    )
    serve.add_argument("--dtype", help="for transformers: bfloat16, … (default: as it was saved)")
    serve.add_argument("--host", default="0.0.0.0", help="address to listen on (%(default)s)")  # noqa: S104 - the proxy reaches the driver by its network address
    serve.add_argument(
        "--port", default="7777", help="port, 3000-8000 as Databricks documents (%(default)s)"
    )
    serve.add_argument(
        "--max-in-flight",
        type=int,
        default=64,
        metavar="N",
        help="requests at once; the next one is told to come back, 429 (%(default)s)",
    )
    serve.add_argument(
        "--timeout",
        type=float,
        default=290.0,
        metavar="SECONDS",
        help="for one request, its time in the queue included; then 504 (%(default)s)",
    )
    serve.add_argument(
        "--max-request-bytes",
        type=int,
        default=1 << 20,
        metavar="N",
        help="a longer body is refused, 413; an image in base64 may need more (%(default)s)",
    )
    serve.add_argument(
        "--no-api-key",
        action="store_true",
        help="serve everybody who reaches the port; otherwise the key is DBX_EVAL_DRIVER_API_KEY, "
        "or a new one that is printed",
    )
    serve.add_argument(
        "--log-prompts", action="store_true", help="show in the log what clients send"
    )
    serve.set_defaults(run=_serve)


def _add_demo(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    demo = commands.add_parser(
        "demo",
        help="see it all at work on this machine, without a workspace",
        description="Ask a chain 48 questions through an emulated workspace and a real driver "
        "server, score its answers, and log them to MLflow.",
    )
    demo.add_argument(
        "--variant",
        choices=["baseline", "better"],
        default="baseline",
        help="which retriever to use; 'better' shows what changed against the baseline",
    )
    demo.set_defaults(run=_demo)


def _add_sync(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    sync = commands.add_parser(
        "sync",
        help="write to MLflow what an evaluation could not write while it ran",
        description="Write an evaluation's rows, metrics and table to MLflow. Everything is in "
        "its journal on this machine, so nothing is asked or judged again; doing it twice is safe. "
        "It goes to the store that the evaluation was to go to, or, where that one's address holds "
        "a password, to MLFLOW_TRACKING_URI.",
    )
    sync.add_argument(
        "reference",
        metavar="RUN",
        help="the MLflow run's id, the evaluation's own, or its journal's file",
    )
    sync.set_defaults(run=_sync)


def _serve(options: argparse.Namespace) -> None:
    from langchain_dbx_eval.driver import EngineChoice, Limits, serve

    # Only ours at INFO: other libraries say too much there.
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("langchain_dbx_eval").setLevel(logging.INFO)
    api_key: Literal[False] | None = False if options.no_api_key else None
    limits = Limits(
        max_in_flight=options.max_in_flight,
        request_timeout=options.timeout,
        max_request_bytes=options.max_request_bytes,
    )
    with _ended_by_ctrl_c():
        serve(
            options.target,
            EngineChoice(options.engine, options.model, options.device, options.dtype),
            host=options.host,
            port=options.port,
            api_key=api_key,
            limits=limits,
            log_prompts=options.log_prompts,
        )


@contextmanager
def _ended_by_ctrl_c() -> Iterator[None]:
    """Let a Ctrl-C that the server does not take end the process at once, as SIGTERM does.

    A KeyboardInterrupt would leave its threads the time to log what was taken from each of them.
    """
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _sync(options: argparse.Namespace) -> None:
    from langchain_dbx_eval.evaluation.writer import sync

    print(sync(options.reference))  # noqa: T201 - this is a terminal


def _demo(options: argparse.Namespace) -> None:
    from langchain_dbx_eval.demo.show import show

    show(options.variant)


if __name__ == "__main__":
    sys.exit(main())
