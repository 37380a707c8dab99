"""Whatever a model or a scorer does is the failure of one row, never the end of an evaluation."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from typing import Any

import mlflow
import pytest

from langchain_dbx_eval import evaluate
from langchain_dbx_eval.evaluation import EvaluationResult
from langchain_dbx_eval.scoring import Assessment, scorer
from langchain_dbx_eval.scoring.assessments import JudgeUsage
from tests.polling import wait_until

pytestmark = pytest.mark.usefixtures("mlflow_store")


class UnprintableError(Exception):
    """An error whose text cannot be read."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


class UnprintableObject:
    """An object whose text cannot be read."""

    def __str__(self) -> str:
        raise UnprintableError

    __repr__ = __str__


def nested(depth: int) -> Any:
    """Return lists in each other."""
    value: Any = "the end"
    for _ in range(depth):
        value = [value]
    return value


def raises(error: BaseException) -> Any:
    """Raise an error; an expression, for a lambda."""
    raise error


ANSWERS: dict[str, Callable[[], Any]] = {
    "list": lambda: nested(5_000),
    "shallower list": lambda: nested(300),
    "list in a dict": lambda: {"content": "text", "steps": nested(900)},
    "integer": lambda: 10**4_300,
    "large integer": lambda: 10**400,
    "integers in a list": lambda: [10**5_000],
    "object": UnprintableObject,
    "objects": lambda: {"content": [UnprintableObject()]},
    "key": lambda: {(1, 2): {3: UnprintableObject()}},
    "our form": lambda: {"$dbx_eval": "message", "value": 3},
    "bytes": lambda: b"\xff\x00",
}
ERRORS: dict[str, Callable[[], BaseException]] = {
    "unprintable": UnprintableError,
    "exit": SystemExit,
    "interrupt": KeyboardInterrupt,
    "cancelled": asyncio.CancelledError,
    "iteration": StopIteration,
    "generator": GeneratorExit,
    "base": lambda: BaseException("base"),
}


def check(result: EvaluationResult, rows: int) -> None:
    """Check that all rows are in the result, in its table and in MLflow."""
    assert result.is_complete
    assert result.pending_rows == 0
    assert len(result.tables["eval_results"]) == rows
    run = mlflow.get_run(result.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.metrics["rows/total"] == rows
    loaded = EvaluationResult.load(result.evaluation_id)
    assert [row.outcome for row in loaded.rows] == [row.outcome for row in result.rows]


def attack(request: str) -> Any:
    kind, _, name = request.partition(": ")
    if kind == "answer":
        return ANSWERS[name]()
    if kind == "error":
        raise ERRORS[name]()
    return "fine"


async def attack_async(request: str) -> Any:
    return attack(request)


@pytest.mark.parametrize("model", [attack, attack_async])
def test_any_answer_and_any_error_of_a_model_is_one_row(model: Any) -> None:
    requests = [f"answer: {name}" for name in ANSWERS] + [f"error: {name}" for name in ERRORS]
    result = evaluate(
        model,
        [*({"request": r} for r in requests), {"request": "honest"}],
        input_fn=lambda request: request,
    )
    check(result, len(requests) + 1)
    by_request = {row.record.request: row.outcome for row in result.rows}
    assert by_request["honest"].response == "fine"
    assert by_request["answer: large integer"].response == 10**400
    for name in ERRORS:
        assert by_request[f"error: {name}"].error
    assert "UnprintableError" in by_request["error: unprintable"].error


def scorer_that(name: str, act: Callable[[], Any]) -> list[Any]:
    """Return a synchronous and an asynchronous scorer of the same behavior."""

    def run(response: str) -> Any:
        return act() if response == "attack" else 1.0

    async def run_async(response: str) -> Any:
        await asyncio.sleep(0)
        return run(response)

    class Blocking:
        """A scorer that runs in the thread of all such scorers."""

        def __init__(self) -> None:
            self.name, self.column = f"{name} blocking", f"metric/{name} blocking"

        def score(self, context: Any) -> Any:
            value = run(context.response_text)
            return [Assessment(name=self.name, column=self.column, value=value)]

    return [scorer(name=name)(run), scorer(name=f"{name} async")(run_async), Blocking()]


def test_any_error_of_a_scorer_is_an_error_of_its_row() -> None:
    scorers = [
        one
        for name, make in ERRORS.items()
        for one in scorer_that(name, lambda make=make: raises(make()))
    ]
    data = [{"request": str(n), "response": r} for n, r in enumerate(["attack", "honest"])]
    result = evaluate(data=data, scorers=scorers)
    check(result, 2)
    attacked, honest = ({a.name: a for a in row.assessments} for row in result.rows)
    for one in scorers:
        assert attacked[one.name].error
        assert attacked[one.name].value is None
        assert honest[one.name].value == 1.0
        assert not honest[one.name].error


VALUES: dict[str, Callable[[], Any]] = {
    "large integer": lambda: 10**400,
    "larger integer": lambda: 10**5_000,
    "infinite": lambda: float("inf"),
    "usage": lambda: Assessment(
        name="usage", column="metric/usage", value=1.0, usage=JudgeUsage(input_tokens=10**30)
    ),
    "wrong usage": lambda: Assessment(
        name="wrong usage", column="metric/wrong usage", value=1.0, usage="much"
    ),
    "wrong value": lambda: Assessment(
        name="wrong value", column="metric/wrong value", value=nested(5_000)
    ),
    "rationale": lambda: (1.0, "\ud83d"),
}


def test_any_value_of_a_scorer_is_a_result_or_an_error_of_its_row() -> None:
    scorers = [one for name, act in VALUES.items() for one in scorer_that(name, act)[:2]]
    data = [{"request": str(n), "response": r} for n, r in enumerate(["attack", "honest"])]
    result = evaluate(data=data, scorers=scorers)
    check(result, 2)
    attacked = {a.name: a for a in result.rows[0].assessments}
    for name in ("large integer", "larger integer", "infinite", "large integer async"):
        assert attacked[name].error
        assert attacked[name].value is None
    assert result.metrics["metric/large integer/average"] == 1.0
    assert "metric/rationale/average" in result.metrics


def test_a_real_ctrl_c_stops_the_evaluation_also_while_a_scorer_raises_its_own(
    caplog: pytest.LogCaptureFixture,
) -> None:
    @scorer
    def interrupts(request: str) -> None:
        if request == "2":
            os.kill(os.getpid(), signal.SIGINT)
            # The main thread handles it when it runs next.
            wait_until(lambda: "SIGINT" in caplog.text)
        raise KeyboardInterrupt

    data = [{"request": str(number), "response": "a"} for number in range(50)]
    with pytest.raises(KeyboardInterrupt, match="resume=") as stopped:
        evaluate(data=data, scorers=[interrupts], max_concurrency=1)
    assert not str(stopped.value).startswith(("0 of", "50 of"))
