"""The budget of an evaluation: a number of tokens, or a cost by a table of prices."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from numbers import Real
from pathlib import Path
from typing import Any

from langchain_dbx_eval._internal.log import get_logger
from langchain_dbx_eval._internal.paths import expand_user
from langchain_dbx_eval.datasets import EvalRecord
from langchain_dbx_eval.errors import BudgetExceededError, ConfigurationError, DatabricksError
from langchain_dbx_eval.evaluation.capture.spans import ModelUsage
from langchain_dbx_eval.evaluation.journal.rows import Answer
from langchain_dbx_eval.evaluation.journal.store import Journal
from langchain_dbx_eval.evaluation.run.scheduler import Invoke

__all__ = ["Budget", "Price", "read_prices"]

_logger = get_logger(__name__)

_ANY_MODEL = "*"
_PER_TOKENS = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Price:
    """The prices of a model in US dollars per million tokens.

    Attributes:
        input: Price of the input tokens that were not read from a cache.
        output: Price of the output tokens.
        cached_input: Price of the input tokens that the provider read from its prompt cache;
            default: `input`.
    """

    input: float
    output: float
    cached_input: float | None = None

    def cost(self, usage: ModelUsage) -> float:
        """Return the cost of tokens in US dollars."""
        cached = min(usage.cached_input_tokens, usage.input_tokens)
        cached_price = self.input if self.cached_input is None else self.cached_input
        return (
            (usage.input_tokens - cached) * self.input
            + cached * cached_price
            + usage.output_tokens * self.output
        ) / _PER_TOKENS


def read_prices(prices: Any) -> dict[str, Price]:
    """Read a table of prices.

    Args:
        prices: ``{model: {"input": …, "cached_input": …, "output": …}}``, where the model ``"*"``
            is any other one; a frame or a list of dicts with these keys and ``model``; or the path
            of a JSON or CSV file with one of them.

    Returns:
        The prices by model.

    Raises:
        ConfigurationError: The file cannot be read, or the table is not valid.
    """
    if isinstance(prices, str | Path):
        prices = _read_file(expand_user(prices))
    if hasattr(prices, "to_dict") and hasattr(prices, "columns"):
        prices = prices.to_dict("records")
    if isinstance(prices, Sequence):
        prices = {
            row.get("model"): {name: value for name, value in row.items() if name != "model"}
            for row in prices
            if isinstance(row, Mapping)
        }
    if not isinstance(prices, Mapping) or not all(isinstance(name, str) for name in prices):
        msg = (
            f"prices must be a table of models, got {prices!r:.200}. Pass {{'my-model': {{'input': "
            "2.5, 'cached_input': 1.25, 'output': 10}}, in US dollars per million tokens, or the "
            "path of a JSON or CSV file with the same content."
        )
        raise ConfigurationError(msg)
    return {model: _read_price(model, price) for model, price in prices.items()}


def _read_file(path: Path) -> Any:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file)) if path.suffix == ".csv" else json.load(file)
    except (OSError, ValueError) as error:
        msg = f"prices={str(path)!r} cannot be read as a JSON or CSV file: {error}"
        raise ConfigurationError(msg) from error


def _read_price(model: str, price: Any) -> Price:
    names = ("input", "cached_input", "output")
    try:
        # An empty cell of a CSV file or a frame is a missing value.
        present = {name: float(value) for name, value in dict(price).items() if value != ""}
        present = {name: value for name, value in present.items() if not math.isnan(value)}
        if not {"input", "output"} <= present.keys() <= set(names):
            raise ValueError(f"it has {', '.join(present) or 'no values'}")
        if not all(0 <= value < math.inf for value in present.values()):
            raise ValueError("prices must be 0 or more")
    except (TypeError, ValueError) as error:
        msg = (
            f"prices[{model!r}]={price!r:.200} is not valid: {error}. It needs 'input' and "
            "'output', and may have 'cached_input', in US dollars per million tokens."
        )
        raise ConfigurationError(msg) from error
    return Price(**present)


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The limits of an evaluation.

    What an evaluation used is in its journal, per model: by the rows of earlier calls of
    `evaluate` that it resumes too, those that were retried, and by the judges.

    Attributes:
        max_tokens: The largest number of tokens; None: no limit.
        max_cost: The highest cost in US dollars; None: no limit.
        prices: The prices, as `read_prices` accepts them.

    Raises:
        ConfigurationError: A limit or a price is not valid.
    """

    max_tokens: int | None = None
    max_cost: float | None = None
    prices: Any = None
    _prices: Mapping[str, Price] = field(init=False)

    def __post_init__(self) -> None:
        for name, limit in (("max_tokens", self.max_tokens), ("max_cost", self.max_cost)):
            is_number = isinstance(limit, Real) and not isinstance(limit, bool)
            if limit is not None and not (is_number and 0 < limit < math.inf):
                msg = f"{name} must be a number above 0, got {limit!r}."
                raise ConfigurationError(msg)
        if self.max_cost is not None and self.prices is None:
            msg = (
                "max_cost needs prices=: {'my-model': {'input': 2.5, 'output': 10}}, in US dollars "
                "per million tokens, or the path of a file with them."
            )
            raise ConfigurationError(msg)
        object.__setattr__(self, "_prices", read_prices(self.prices or {}))

    def with_cost(self, invoke: Invoke) -> Invoke:
        """Return a function that invokes the model and adds the cost to the outcome."""
        if self.prices is None and self.max_tokens is None:
            return invoke
        has_limit = self.max_tokens is not None or self.max_cost is not None
        is_warned = False

        async def invoke_with_cost(record: EvalRecord) -> Answer:
            nonlocal is_warned
            answer = await invoke(record)
            usage = [] if answer.run is None else answer.run.usage()
            if has_limit and not usage and not is_warned and answer.outcome.error is None:
                is_warned = True
                _logger.warning(
                    "The model reported no tokens for the row %r: the budget does not count it.",
                    record.request_id,
                )
            for span in [] if answer.run is None else answer.run.models():
                if (price := self._price(span.usage)) is not None:
                    span.cost_usd = price.cost(span.usage)
            cost = None if self._unpriced(usage) or not usage else self._cost(usage)
            return replace(answer, outcome=replace(answer.outcome, cost_usd=cost))

        return invoke_with_cost

    def is_exhausted(self, journal: Journal) -> bool:
        """Whether no further row may be started.

        Also if `max_cost` cannot be compared, because a model that was used has no price.
        """
        if self.max_tokens is None and self.max_cost is None:
            return False
        usage = journal.usage()
        if self.max_tokens is not None and _tokens(usage) >= self.max_tokens:
            return True
        if self.max_cost is None:
            return False
        return bool(self._unpriced(usage)) or self._cost(usage) >= self.max_cost

    def used(self, journal: Journal) -> tuple[int, float | None]:
        """Return the tokens that were used, and their cost; None if it is not known."""
        usage = journal.usage()
        has_cost = bool(self._prices) or any(used.cost_usd is not None for used in usage)
        return _tokens(usage), self._cost(usage) if has_cost else None

    def error(self, journal: Journal, finished: int, total: int) -> DatabricksError:
        """Return the error of an evaluation that ended because `is_exhausted`.

        Args:
            journal: Its journal.
            finished: Number of rows that are finished.
            total: Number of all rows.
        """
        usage = journal.usage()
        progress = f"{finished} of {total} rows are finished ({total - finished} missing)"
        resume = f"resume={journal.evaluation_id!r}"
        if self.max_tokens is not None and _tokens(usage) >= self.max_tokens:
            limit = f"max_tokens={self.max_tokens} is reached, with {_tokens(usage)} tokens"
            advice = f"evaluate(…, {resume}, max_tokens=…)"
        elif unpriced := self._unpriced(usage):
            names = ", ".join(map(repr, unpriced))
            msg = (
                f"prices has no entry for {names}, whose tokens count for max_cost. {progress}. "
                f"Add it, or '{_ANY_MODEL}' for any other model, and continue with {resume}."
            )
            return ConfigurationError(msg)
        else:
            limit = f"max_cost={self.max_cost:g} is reached, with {self._cost(usage):.4g} dollars"
            advice = f"evaluate(…, {resume}, max_cost=…)"
        return BudgetExceededError(
            f"{progress}: {limit}. Continue with a higher limit: {advice}.",
            evaluation_id=journal.evaluation_id,
            finished=finished,
            missing=total - finished,
        )

    def _price(self, usage: ModelUsage) -> Price | None:
        return self._prices.get(usage.model) or self._prices.get(_ANY_MODEL)

    def _unpriced(self, usage: Iterable[ModelUsage]) -> list[str]:
        """Return the models with neither a price nor a cost that the provider reported."""
        return [
            used.model
            for used in usage
            if self._price(used) is None and used.cost_usd is None and _tokens([used])
        ]

    def _cost(self, usage: Iterable[ModelUsage]) -> float:
        """Return the cost in US dollars: by the prices, else as the provider reported it."""
        costs = []
        for used in usage:
            price = self._price(used)
            by_price = price is not None and _tokens([used])
            costs.append(price.cost(used) if price and by_price else used.cost_usd or 0.0)
        return math.fsum(costs)


def _tokens(usage: Iterable[ModelUsage]) -> int:
    return sum(used.input_tokens + used.output_tokens for used in usage)
