"""A scorer or a judge that never returns is an error of its row, and never holds the process."""

from __future__ import annotations

import asyncio
import math
import os
import re
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import mlflow.genai
import pytest

from langchain_dbx_eval import EvaluationCallbackHandler, evaluate
from langchain_dbx_eval.errors import ConfigurationError
from langchain_dbx_eval.evaluation import CallbackOptions, EvaluationOptions, EvaluationResult
from langchain_dbx_eval.scoring import Assessment, PromptJudge, scorer
from langchain_dbx_eval.testing import LocalWorkspace
from tests.scoring.scripted_judge import ScriptedJudge, verdict

pytestmark = [pytest.mark.timeout(300), pytest.mark.usefixtures("mlflow_store")]

OPTIONS = EvaluationOptions(scorer_timeout=3.0)
DATA = [{"request": str(number), "response": text} for number, text in enumerate(["hang", "ok"])]


@pytest.fixture
def released():
    """Lets the threads end that hang."""
    event = threading.Event()
    yield event
    event.set()


class Blocking:
    """A scorer that runs in the thread of all such scorers."""

    def __init__(self, name: str, released: threading.Event, *, hangs: bool) -> None:
        self.name, self.column = name, f"metric/{name}"
        self._released, self._hangs = released, hangs

    def score(self, context: Any) -> list[Assessment]:
        if self._hangs and context.response_text == "hang":
            self._released.wait()
        return [Assessment(name=self.name, column=self.column, value=1.0)]


def hanging_scorers(released: threading.Event) -> list[Any]:
    @scorer
    def in_a_thread(response: str) -> float:
        if response == "hang":
            released.wait()
        return 1.0

    @scorer
    async def asynchronous(response: str) -> float:
        while response == "hang":
            await asyncio.sleep(60)
        return 1.0

    @scorer
    async def stubborn(response: str) -> float:
        while response == "hang" and not released.is_set():
            try:
                await asyncio.sleep(0.05)
            except asyncio.CancelledError:
                continue
        return 1.0

    @mlflow.genai.scorer
    def of_mlflow(outputs: str) -> float:
        if outputs == "hang":
            released.wait()
        return 1.0

    blocking = [Blocking("blocking", released, hangs=True), Blocking("next", released, hangs=False)]
    return [in_a_thread, asynchronous, stubborn, of_mlflow, *blocking]


def check_errors(result: EvaluationResult) -> None:
    hanging, fine = ({a.name: a for a in row.assessments} for row in result.rows)
    assert result.pending_rows == 0
    for name in ("in_a_thread", "asynchronous", "stubborn", "of_mlflow", "blocking"):
        expected = f"TimeoutError: the scorer '{name}' has no result after 3 s (scorer_timeout=)"
        assert (hanging[name].error, hanging[name].value) == (expected, None)
        assert (fine[name].error, fine[name].value) == (None, 1.0)
    assert hanging["next"].value == 1.0


def test_a_scorer_that_hangs_is_an_error_that_names_it(released: threading.Event) -> None:
    check_errors(evaluate(data=DATA, scorers=hanging_scorers(released), options=OPTIONS))


def test_a_scorer_that_hangs_does_not_hang_the_callback(released: threading.Event) -> None:
    from langchain_core.runnables import RunnableLambda

    handler = EvaluationCallbackHandler(
        scorers=hanging_scorers(released), options=CallbackOptions(scorer_timeout=3.0)
    )
    chain = RunnableLambda(lambda request: DATA[int(request)]["response"])
    for row in DATA:
        chain.invoke(row["request"], {"callbacks": [handler]})
    check_errors(handler.result())


def test_a_judge_that_hangs_is_an_error_and_frees_its_slot() -> None:
    class HangingJudge(ScriptedJudge):
        async def _agenerate(self, messages: Any, *args: Any, **kwargs: Any) -> Any:
            if "hang" in str(messages):
                await asyncio.sleep(3600)
            return await super()._agenerate(messages, *args, **kwargs)

    judge = HangingJudge(script=lambda messages: verdict("yes"))
    tone = PromptJudge("tone", "Is {response} polite?")
    own = PromptJudge("own", "Is {response} short?", model=HangingJudge())
    data = [{"request": str(n), "response": "hang" if n < 3 else "ok"} for n in range(6)]
    config = {"databricks-agent": {"metrics": []}}
    result = evaluate(
        data=data,
        judge=judge,
        scorers=[tone, own],
        evaluator_config=config,
        options=OPTIONS,
        max_concurrency=2,
    )
    for row in result.rows:
        for name in ("tone", "own"):
            [found] = [a for a in row.assessments if a.name == name]
            if row.record.response == "hang":
                text = f"TimeoutError: the judge '{name}' has no verdict after 3 s"
                assert found.error == f"{text} (scorer_timeout=)"
            else:
                assert found.value == "yes"


@pytest.mark.parametrize(
    ("wait", "error"),
    [
        (86400, r"RateLimitError: .* asks to wait 86400 s, and scorer_timeout= leaves 3 s"),
        (math.inf, "RateLimitError|TimeoutError: the judge 'relevance_to_query' has no verdict"),
        (None, "TimeoutError: the judge 'relevance_to_query' has no verdict after 3 s"),
    ],
)
def test_a_judge_that_requests_a_long_wait_or_does_not_answer_is_an_error(
    workspace: LocalWorkspace, wait: float | None, error: str
) -> None:
    workspace.add_endpoint("judge", lambda messages, **params: "never", kind="chat")
    if wait is None:
        workspace.delay("judge", seconds=3600)
    else:
        workspace.fail("judge", status=429, retry_after=wait, times=None)
    result = evaluate(
        data=[{"request": str(n), "response": "a"} for n in range(4)],
        judge="endpoints:/judge",
        evaluator_config={"databricks-agent": {"metrics": ["relevance_to_query"]}},
        options=EvaluationOptions(scorer_timeout=3.0),
    )
    for row in result.rows:
        [found] = [a for a in row.assessments if a.name == "relevance_to_query"]
        assert re.search(error, found.error)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scorer_timeout": 0}, "scorer_timeout must be a positive number of seconds, or None"),
        ({"scorer_timeout": "5"}, "scorer_timeout must be a positive number of seconds, or None"),
    ],
)
def test_an_invalid_scorer_timeout_is_rejected(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        evaluate(data=DATA, options=EvaluationOptions(**options))
    with pytest.raises(ConfigurationError, match=message):
        EvaluationCallbackHandler(options=CallbackOptions(**options))


PROGRAM = """
import signal, sys, threading, time
signal.signal(signal.SIGINT, signal.default_int_handler)
from langchain_dbx_eval import evaluate
from langchain_dbx_eval.scoring import scorer

@scorer
def hangs(response):
    print("started", flush=True)
    threading.Event().wait()

class Blocking:
    name, column = "blocking", "metric/blocking"
    score = staticmethod(lambda context: threading.Event().wait())

evaluate(data=[{"request": "a", "response": "b"}], scorers=[hangs, Blocking()])
"""


def test_after_two_ctrl_c_the_process_is_gone_although_scorers_hang() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "MLFLOW_TRACKING_URI": mlflow.get_tracking_uri()},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == "started\n"
    process.send_signal(signal.SIGINT)
    for line in process.stderr:
        if "Send it again to stop at once" in line:
            break
    process.send_signal(signal.SIGINT)
    started = time.monotonic()
    process.communicate(timeout=60)
    assert process.returncode != 0
    # 2 s on an idle machine.
    assert time.monotonic() - started < 30
