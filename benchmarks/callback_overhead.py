"""What a callback costs a chain of three steps, per call: ours beside MLflow's.

    python benchmarks/callback_overhead.py [--rounds 20] [--calls 100]

Each round runs some calls of each kind, one kind after the other, so that a busy machine slows all
of them. A call's own time is what the median says; the time until everything is scored or exported
too is told beside it. MLflow writes to a SQLite store in a temporary folder.
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
# To export a trace takes MLflow up to 100 ms, so it makes fewer of them.
_MLFLOW_SHARE = 0.05


@dataclass
class Way:
    """A way to call the chain."""

    name: str
    config: dict[str, Any]
    before: Callable[[], object] = lambda: None
    after: Callable[[], object] = lambda: None
    share: float = 1.0
    calls_s: list[float] = field(default_factory=list)
    all_s: float = 0.0

    def run(self, chain: Runnable[Any, Any], calls: int, *, counted: bool = True) -> None:
        self.before()
        calls = max(1, round(calls * self.share))
        chain.invoke({"question": "What comes after a change costs more."}, self.config)
        began = time.perf_counter()
        for _ in range(calls):
            start = time.perf_counter()
            chain.invoke({"question": "What is the capital of France?"}, self.config)
            if counted:
                self.calls_s.append(time.perf_counter() - start)
        self.after()
        self.all_s += (time.perf_counter() - began) * counted


def main() -> None:
    arguments = _arguments()
    report(measure(arguments.rounds, arguments.calls))


def measure(rounds: int, calls: int) -> list[Way]:
    """Call the chain in each way, in turns; the first way is without a callback."""
    chain = (
        ChatPromptTemplate.from_template("{question}")
        | FakeListChatModel(responses=["Paris."])
        | StrOutputParser()
    )
    with tempfile.TemporaryDirectory() as folder:
        ways = _ways(folder)
        for way in ways:
            way.run(chain, _WARM_UP, counted=False)
        for _ in range(rounds):
            for way in ways:
                way.run(chain, calls)
    return ways


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--calls", type=int, default=100, help="calls of each kind in a round")
    return parser.parse_args()


def _ways(folder: str) -> list[Way]:
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    logging.getLogger("alembic").setLevel(logging.ERROR)
    import mlflow
    from mlflow.langchain.langchain_tracer import MlflowLangchainTracer

    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    mlflow.set_experiment("callback-overhead")
    ours = EvaluationCallbackHandler(options=CallbackOptions(on_full="block"))
    sampled = EvaluationCallbackHandler(sample_rate=0.01)
    return [
        Way(_BARE, {}),
        # What LangChain itself spends to tell somebody.
        Way("an empty handler", {"callbacks": [BaseCallbackHandler()]}),
        Way(_OURS, {"callbacks": [ours]}, after=lambda: _all_scored(ours)),
        Way("ours, 1 % sampled", {"callbacks": [sampled]}, after=lambda: _all_scored(sampled)),
        Way(
            "MlflowLangchainTracer",
            {"callbacks": [MlflowLangchainTracer()]},
            after=mlflow.flush_trace_async_logging,
            share=_MLFLOW_SHARE,
        ),
        Way(
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


def _all_scored(handler: EvaluationCallbackHandler) -> None:
    with handler._queue.drained():
        scored = set(handler._session._scoring)
    wait(scored)


def ratio_of_ours(ways: list[Way]) -> float:
    """A call's own time with our callback, against the bare chain's."""
    bare, ours = (next(way for way in ways if way.name == name) for name in (_BARE, _OURS))
    return statistics.median(ours.calls_s) / statistics.median(bare.calls_s)


def report(ways: list[Way]) -> None:
    """Print a table."""
    bare = ways[0]
    print(f"{'':26} {'ms a call':>9} {'ratio':>7}   {'until all is done':>17} {'ratio':>7}")
    for way in ways:
        call = statistics.median(way.calls_s)
        whole = way.all_s / len(way.calls_s)
        print(
            f"{way.name:26} {call * 1e3:9.3f} {call / statistics.median(bare.calls_s):6.2f}x   "
            f"{whole * 1e3:14.3f} ms {whole / (bare.all_s / len(bare.calls_s)):6.2f}x"
        )


if __name__ == "__main__":
    main()
