"""The time that callbacks add to a call of a chain with three steps: ours and MLflow's.

    python benchmarks/callback_overhead.py [--rounds 20] [--calls 100]

Each round calls all variants in turns, so that a busy machine slows all of them. Reported are the
median duration of a call, and the duration until everything is scored or exported. MLflow writes to
a SQLite store in a temporary folder.
"""

from __future__ import annotations

import argparse
import logging
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import wait
from dataclasses import dataclass, field
from typing import Any

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable

from langchain_dbx_eval import EvaluationCallbackHandler
from langchain_dbx_eval.evaluation import CallbackOptions

_BARE = "no callback"
_OURS = "ours"
_WARM_UP = 100
# MLflow needs up to 100 ms to export a trace, so it gets fewer calls.
_MLFLOW_SHARE = 0.05


@dataclass
class Variant:
    """A configuration of the chain, and its measurements.

    Attributes:
        name: The name in the table.
        config: The config of each call.
        before: Called before each round.
        after: Called after each round, to complete the work in the background.
        share: The share of the calls per round.
        call_seconds: The duration of each call.
        total_seconds: The duration of all rounds, `after` included.
    """

    name: str
    config: dict[str, Any]
    before: Callable[[], object] = lambda: None
    after: Callable[[], object] = lambda: None
    share: float = 1.0
    call_seconds: list[float] = field(default_factory=list)
    total_seconds: float = 0.0

    def run(self, chain: Runnable[Any, Any], calls: int, *, counted: bool = True) -> None:
        self.before()
        calls = max(1, round(calls * self.share))
        chain.invoke({"question": "The first call after a change is slower."}, self.config)
        started = time.perf_counter()
        for _ in range(calls):
            start = time.perf_counter()
            chain.invoke({"question": "What is the capital of France?"}, self.config)
            if counted:
                self.call_seconds.append(time.perf_counter() - start)
        self.after()
        self.total_seconds += (time.perf_counter() - started) * counted


def main() -> None:
    arguments = _arguments()
    report(measure(arguments.rounds, arguments.calls))


def measure(rounds: int, calls: int) -> list[Variant]:
    """Measure all variants in turns; the first one has no callback."""
    chain = (
        ChatPromptTemplate.from_template("{question}")
        | FakeListChatModel(responses=["Paris."])
        | StrOutputParser()
    )
    with tempfile.TemporaryDirectory() as folder:
        variants = _variants(folder)
        for variant in variants:
            variant.run(chain, _WARM_UP, counted=False)
        for _ in range(rounds):
            for variant in variants:
                variant.run(chain, calls)
    return variants


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--calls", type=int, default=100, help="calls of each variant per round")
    return parser.parse_args()


def _variants(folder: str) -> list[Variant]:
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    logging.getLogger("alembic").setLevel(logging.ERROR)
    import mlflow
    from mlflow.langchain.langchain_tracer import MlflowLangchainTracer

    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    mlflow.set_experiment("callback-overhead")
    ours = EvaluationCallbackHandler(options=CallbackOptions(on_full="block"))
    sampled = EvaluationCallbackHandler(sample_rate=0.01)
    return [
        Variant(_BARE, {}),
        # The time of LangChain itself.
        Variant("an empty handler", {"callbacks": [BaseCallbackHandler()]}),
        Variant(_OURS, {"callbacks": [ours]}, after=lambda: _wait_until_scored(ours)),
        Variant(
            "ours, 1 % sampled", {"callbacks": [sampled]}, after=lambda: _wait_until_scored(sampled)
        ),
        Variant(
            "MlflowLangchainTracer",
            {"callbacks": [MlflowLangchainTracer()]},
            after=mlflow.flush_trace_async_logging,
            share=_MLFLOW_SHARE,
        ),
        Variant(
            "mlflow.langchain.autolog",
            {},
            before=lambda: mlflow.langchain.autolog(silent=True),
            after=lambda: (
                mlflow.flush_trace_async_logging(),
                mlflow.langchain.autolog(disable=True, silent=True),
            ),
            share=_MLFLOW_SHARE,
        ),
    ]


def _wait_until_scored(handler: EvaluationCallbackHandler) -> None:
    with handler._queue.drained():
        scored = set(handler._session._scoring)
    wait(scored)


def ratio_of_ours(variants: list[Variant]) -> float:
    """Return the median duration of a call with our callback, divided by that without."""
    bare, ours = (next(v for v in variants if v.name == name) for name in (_BARE, _OURS))
    return statistics.median(ours.call_seconds) / statistics.median(bare.call_seconds)


def report(variants: list[Variant]) -> None:
    """Print a table."""
    bare_call = statistics.median(variants[0].call_seconds)
    bare_total = variants[0].total_seconds / len(variants[0].call_seconds)
    print(f"{'':26} {'ms per call':>11} {'ratio':>7}   {'until all is done':>17} {'ratio':>7}")
    for variant in variants:
        call = statistics.median(variant.call_seconds)
        total = variant.total_seconds / len(variant.call_seconds)
        print(
            f"{variant.name:26} {call * 1e3:11.3f} {call / bare_call:6.2f}x   "
            f"{total * 1e3:14.3f} ms {total / bare_total:6.2f}x"
        )


if __name__ == "__main__":
    main()
