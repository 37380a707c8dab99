"""The budget of an evaluation: `max_tokens`, `max_cost` and `prices`."""

from __future__ import annotations

import asyncio
import json
import math
from typing import Any

import mlflow
import pandas as pd
import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import RunnableLambda

from langchain_dbx_eval import EvaluationResult, compare, errors, evaluate
from langchain_dbx_eval.evaluation import list_evaluations
from langchain_dbx_eval.evaluation.capture.spans import ModelUsage
from langchain_dbx_eval.evaluation.journal.store import Journal
from langchain_dbx_eval.evaluation.run.budget import Price, read_prices
from langchain_dbx_eval.scoring import PromptJudge
from tests.evaluation.questions import RECORDS

pytestmark = pytest.mark.usefixtures("mlflow_store")

PRICES = {"small": {"input": 2.0, "cached_input": 0.5, "output": 10.0}}
# 600 input tokens, 200 of them cached, and 100 output tokens.
ROW_TOKENS = 700
ROW_COST = (400 * 2.0 + 200 * 0.5 + 100 * 10.0) / 1e6
failing: set[str] = set()


class Model(BaseChatModel):
    """Answers and reports tokens, as the judge too."""

    model: str = "small"
    reports_tokens: bool = True

    @property
    def _llm_type(self) -> str:
        return "counting"

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any):
        usage = {
            "input_tokens": 600,
            "output_tokens": 100,
            "total_tokens": 700,
            "input_token_details": {"cache_read": 200},
        }
        text = '{"rationale": "because", "rating": "yes"}'
        message = AIMessage(text, usage_metadata=usage if self.reports_tokens else None)
        return ChatResult(generations=[ChatGeneration(message=message)])


class Slow(Model):
    """Answers when three rows wait for it."""

    waiting: int = 0

    async def _agenerate(self, *args: Any, **kwargs: Any):
        self.waiting += 1
        while self.waiting < 3:
            await asyncio.sleep(0.001)
        return self._generate(*args)


@pytest.fixture(autouse=True)
def _nothing_fails():
    failing.clear()


def one_by_one(model: Any = None, **options: Any) -> EvaluationResult:
    return evaluate(model or Model(), RECORDS, max_concurrency=1, **options)


class TestLimit:
    def test_no_row_is_started_when_the_tokens_are_used_up(self):
        with pytest.raises(errors.BudgetExceededError) as raised:
            one_by_one(max_tokens=2 * ROW_TOKENS + 1)

        error = raised.value
        assert (error.finished, error.missing) == (3, 3)
        assert "3 of 6 rows are finished (3 missing): max_tokens=1401 is reached" in str(error)
        assert f"resume={error.evaluation_id!r}, max_tokens=…" in str(error)
        result = EvaluationResult.load(error.evaluation_id)
        assert [row.number for row in result.rows] == [0, 1, 2]
        assert mlflow.get_run(result.run_id).info.status == "KILLED"
        assert len(mlflow.search_traces(run_id=result.run_id, return_type="list")) == 3
        assert [info.state for info in list_evaluations()] == ["interrupted"]

    def test_the_evaluation_continues_with_a_higher_limit(self):
        with pytest.raises(errors.BudgetExceededError) as raised:
            one_by_one(max_tokens=2 * ROW_TOKENS)
        with pytest.raises(errors.BudgetExceededError) as again:
            one_by_one(max_tokens=2 * ROW_TOKENS, resume="last")
        assert again.value.finished == 2
        result = one_by_one(max_tokens=6 * ROW_TOKENS, resume=raised.value.evaluation_id)

        assert [row.number for row in result.rows] == list(range(6))
        assert mlflow.get_run(result.run_id).info.status == "FINISHED"

    def test_the_cost_counts_cached_tokens_apart(self):
        with pytest.raises(errors.BudgetExceededError, match=r"max_cost=0\.004 is reached"):
            one_by_one(max_cost=0.004, prices=PRICES)
        [info] = list_evaluations()

        assert info.finished == math.ceil(0.004 / ROW_COST) == 3
        row = EvaluationResult.load(info.evaluation_id).rows[0]
        assert row.outcome.cached_input_tokens == 200
        assert row.outcome.cost_usd == pytest.approx(ROW_COST)

    def test_the_cost_is_a_metric_that_is_compared_and_checked(self):
        cheap = {name: price / 2 for name, price in PRICES["small"].items()}
        baseline, result = one_by_one(prices=PRICES), one_by_one(prices={"small": cheap})

        assert result.summary["agent/cost_usd/average"].value == pytest.approx(ROW_COST / 2)
        assert list(result.tables["eval_results"]["agent/cost_usd"]) == pytest.approx(
            [ROW_COST / 2] * 6
        )
        difference = compare(result, baseline)["agent/cost_usd/average"]
        assert (difference.difference, difference.pairs) == (pytest.approx(-ROW_COST / 2), 6)
        assert result.check(f"cost <= {ROW_COST / 2 + 1e-9:f} USD").passed
        assert "agent/cost_usd/average" not in one_by_one().metrics

    def test_rows_in_flight_are_finished(self):
        with pytest.raises(errors.BudgetExceededError) as raised:
            evaluate(Slow(), RECORDS, max_concurrency=3, max_tokens=1)

        assert raised.value.finished == 3

    def test_a_budget_that_is_not_reached_before_the_last_row_changes_nothing(self):
        result = one_by_one(max_tokens=6 * ROW_TOKENS, max_cost=6 * ROW_COST, prices=PRICES)

        assert len(result.rows) == 6
        assert "incomplete" not in repr(result)

    def test_tokens_of_judges_count(self):
        options = {
            "scorers": [PromptJudge("good", "Is {response} good for {request}?")],
            "evaluator_config": {"databricks-agent": {"metrics": []}},
            "judge": Model(model="judge"),
        }
        with pytest.raises(errors.BudgetExceededError) as raised:
            one_by_one(max_tokens=4 * ROW_TOKENS, **options)
        # The next row may start while a row is being judged.
        finished = raised.value.finished
        assert finished in (2, 3)
        counts = (600 * finished, 200 * finished, 100 * finished)
        assert Journal.find(raised.value.evaluation_id).usage() == [
            ModelUsage("judge", *counts),
            ModelUsage("small", *counts),
        ]

        prices = {**PRICES, "judge": {"input": 1000, "output": 0}}
        with pytest.raises(errors.BudgetExceededError, match="max_cost=1 is reached"):
            one_by_one(max_cost=1.0, prices=prices, **options)

    def test_tokens_of_rows_that_are_retried_count(self):
        def chain(question):
            answer = Model().invoke(question)
            if question in failing:
                raise ValueError("no")
            return answer.text

        failing.update({"question 0", "question 1"})
        model = RunnableLambda(chain)
        failed = one_by_one(model)
        failing.clear()
        with pytest.raises(errors.BudgetExceededError) as raised:
            one_by_one(model, resume=failed.run_id, retry_failures=True, max_tokens=7 * ROW_TOKENS)

        assert (raised.value.finished, raised.value.missing) == (5, 1)

    def test_a_model_that_reports_no_tokens_is_warned_about_once(self, caplog):
        one_by_one(Model(reports_tokens=False), max_tokens=1)

        assert caplog.text.count("reported no tokens for the row 'r0'") == 1


class TestPrices:
    def test_a_model_without_a_price_stops_the_evaluation_and_is_named(self):
        with pytest.raises(
            errors.ConfigurationError, match=r"no entry for 'small'.*1 of 6.*resume="
        ):
            one_by_one(max_cost=1.0, prices={"another": {"input": 1, "output": 1}})
        result = one_by_one(max_cost=1.0, prices={"*": {"input": 1, "output": 1}}, resume="last")

        assert len(result.rows) == 6
        assert [row.outcome.cost_usd for row in result.rows] == [None, *[pytest.approx(7e-4)] * 5]

    def test_without_a_limit_they_give_the_cost_of_each_row(self):
        result = one_by_one(prices=PRICES)

        assert [row.outcome.cost_usd for row in result.rows] == [pytest.approx(ROW_COST)] * 6
        assert [row.outcome.cost_usd for row in one_by_one().rows] == [None] * 6

    @pytest.mark.parametrize("form", ["json", "json list", "csv", "frame", "list", "dict"])
    def test_a_table_is_read_in_each_form(self, form, tmp_path):
        table = {**PRICES, "large": {"input": 5, "output": 20}}
        rows = [{"model": model, **price} for model, price in table.items()]
        path = tmp_path / f"prices.{'csv' if form == 'csv' else 'json'}"
        if form == "csv":
            path.write_text("model,input,cached_input,output\nsmall,2.0,0.5,10\nlarge,5,,20\n")
        else:
            path.write_text(json.dumps(rows if form == "json list" else table))
        prices = {"frame": pd.DataFrame(rows), "list": rows, "dict": table}.get(form, path)

        assert read_prices(prices) == {
            "small": Price(input=2.0, cached_input=0.5, output=10.0),
            "large": Price(input=5.0, output=20.0),
        }

    def test_cached_tokens_cost_the_price_of_the_input_by_default(self):
        usage = ModelUsage("m", 600, 200, 100)

        assert Price(input=2, output=10).cost(usage) == pytest.approx(2.2e-3)
        assert Price(input=2, output=10, cached_input=0).cost(usage) == pytest.approx(1.8e-3)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"max_tokens": 0}, "max_tokens must be a number above 0"),
            ({"max_cost": -1, "prices": {}}, "max_cost must be a number above 0"),
            ({"max_cost": math.nan, "prices": {}}, "max_cost must be a number above 0"),
            ({"max_cost": 1.0}, "max_cost needs prices="),
            ({"prices": {"m": {"input": 1}}}, r"prices\['m'\].*'input' and 'output'"),
            ({"prices": {"m": {"input": 1, "output": -1}}}, "must be 0 or more"),
            ({"prices": {"m": {"input": 1, "output": 1, "cached": 1}}}, r"prices\['m'\].*cached"),
            ({"prices": {"m": 5}}, r"prices\['m'\]=5 is not valid"),
            ({"prices": 5}, "prices must be a table of models"),
            ({"prices": [{"input": 1, "output": 1}]}, "prices must be a table of models"),
            ({"prices": "no-such-file.json"}, "prices='no-such-file.json' cannot be read"),
        ],
    )
    def test_invalid_values_are_errors(self, options, message):
        with pytest.raises(errors.ConfigurationError, match=message):
            evaluate(Model(), RECORDS, **options)
        assert list_evaluations() == []
