"""`ShortFirstPolicy` as a scheduler of transformers' continuous batching. Needs torch."""

from __future__ import annotations

from typing import Any

from transformers.generation.continuous_batching.requests import RequestStatus
from transformers.generation.continuous_batching.scheduler import SCHEDULER_MAPPING, Scheduler

from langchain_dbx_eval.driver.engines.transformers.scheduling_policy import ShortFirstPolicy

__all__ = ["SHORT_FIRST", "ShortFirstScheduler"]

SHORT_FIRST = "langchain_dbx_eval_short_first"
"""The ``scheduler_type`` of a `ContinuousBatchingConfig` that selects this scheduler."""

_SAFETY_MARGIN = 0.15  # the default of transformers' first-in-first-out scheduler


class ShortFirstScheduler(Scheduler):
    """Order sequences by `ShortFirstPolicy`; the base class fits them into the cache.

    Args:
        cache: The paged cache.
        safety_margin: The fraction of the cache that is kept free of new sequences.
        max_requests_per_batch: The maximum number of rows of a step.
    """

    def __init__(
        self, cache: Any, safety_margin: float | None, max_requests_per_batch: int
    ) -> None:
        margin = _SAFETY_MARGIN if safety_margin is None else safety_margin
        super().__init__(cache, margin, max_requests_per_batch)
        self._max_rows = max_requests_per_batch
        self._policy = ShortFirstPolicy(max_requests_per_batch)

    def schedule_batch(
        self, token_budget: int, cache_budget: int
    ) -> tuple[list[Any] | None, bool, int, int]:
        """Select the rows of the next step; see the base class."""
        states = dict(self.active_requests)
        if not self.block_new_requests:
            states |= self.waiting_requests
        limits = {name: state.max_new_tokens for name, state in states.items()}
        names, row_count = self._policy.select(limits)
        if self.cache.compute_free_capacity() < self.safety_margin:
            # Sequences in the cache first: they must finish before others fit.
            names.sort(key=lambda name: states[name].status != RequestStatus.DECODING)
        self.max_requests_per_batch = min(row_count, self._max_rows)
        scheduled_ids: set[str] = set()
        candidates = [states[name] for name in names]
        rows, allocation_failed, fast_path, query_tokens, cache_reads = self._process_candidates(
            candidates, token_budget, cache_budget, scheduled_ids
        )
        self._cleanup_waiting_queue(scheduled_ids)
        for row in rows:
            self._policy.mark_scheduled(row.state.request_id)
        if not rows and allocation_failed:
            return None, fast_path, 0, 0
        return rows, fast_path, query_tokens, cache_reads


SCHEDULER_MAPPING[SHORT_FIRST] = ShortFirstScheduler
