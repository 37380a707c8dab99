"""transformers' scheduler of continuous batching, with turns. Needs torch."""

from __future__ import annotations

from typing import Any

from transformers.generation.continuous_batching.requests import RequestStatus
from transformers.generation.continuous_batching.scheduler import SCHEDULER_MAPPING, Scheduler

from langchain_dbx_eval.driver.engines.transformers.scheduling_policy import Turns

__all__ = ["SHORT_FIRST", "ShortFirstScheduler"]

SHORT_FIRST = "langchain_dbx_eval_short_first"
"""The name by which a `ContinuousBatchingConfig` asks for it."""

_SAFETY_MARGIN = 0.15  # as transformers' own first-in-first-out scheduler has it


class ShortFirstScheduler(Scheduler):
    """Chooses the rows of a step by `Turns`; what fits into the cache is for the base class.

    Args:
        cache: The paged cache.
        safety_margin: The part of the cache that is kept free of new requests.
        max_requests_per_batch: The most rows of a step.
    """

    def __init__(
        self, cache: Any, safety_margin: float | None, max_requests_per_batch: int
    ) -> None:
        margin = _SAFETY_MARGIN if safety_margin is None else safety_margin
        super().__init__(cache, margin, max_requests_per_batch)
        self._most_rows = max_requests_per_batch
        self._turns = Turns(max_requests_per_batch)

    def schedule_batch(
        self, token_budget: int, cache_budget: int
    ) -> tuple[list[Any] | None, bool, int, int]:
        """Choose the rows of the next step; see the base class."""
        states = dict(self.active_requests)
        if not self.block_new_requests:
            states |= self.waiting_requests
        names, places = self._turns.next({name: s.max_new_tokens for name, s in states.items()})
        if self.cache.compute_free_capacity() < self.safety_margin:
            # Those in the cache first: they have to get out of it before others fit.
            names.sort(key=lambda name: states[name].status != RequestStatus.DECODING)
        self.max_requests_per_batch = min(places, self._most_rows)
        begun: set[str] = set()
        rows, one_does_not_fit, fast, tokens, read = self._process_candidates(
            [states[name] for name in names], token_budget, cache_budget, begun
        )
        self._cleanup_waiting_queue(begun)
        for row in rows:
            self._turns.took(row.state.request_id)
        if not rows and one_does_not_fit:
            return None, fast, 0, 0
        return rows, fast, tokens, read


SCHEDULER_MAPPING[SHORT_FIRST] = ShortFirstScheduler
