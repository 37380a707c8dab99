"""Continuous batching: a sequence joins and leaves the running batch at any step. Needs torch.

The scheduler and the paged cache are transformers' own. Two of its extension points add what it
lacks: a logits processor that samples each row by its own parameters, and an output router that
receives each new token in the generating thread, where a stop string, an end token or the maximum
length removes the sequence before its next step.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import ContinuousBatchingConfig, GenerationConfig
from transformers.generation.continuous_batching.cb_logits_processors import (
    ContinuousBatchingLogitsProcessor,
    ContinuousBatchingLogitsProcessorList,
)
from transformers.generation.continuous_batching.continuous_api import OutputRouter
from transformers.generation.continuous_batching.requests import RequestStatus
from transformers.generation.continuous_batching.scheduler import SCHEDULER_MAPPING, Scheduler

from langchain_dbx_eval.driver.engines.transformers.delivery import DeliveryQueue
from langchain_dbx_eval.driver.engines.transformers.sampling import sample_rows
from langchain_dbx_eval.driver.engines.transformers.scheduling_policy import ShortFirstPolicy
from langchain_dbx_eval.driver.engines.transformers.sequence import TokenSequence
from langchain_dbx_eval.errors import DriverServerError

__all__ = ["ContinuousLoop"]

_PAGE_TOKENS = 256
_STOP_TIMEOUT_S = 30.0
_STUCK_S = 120.0
"""Longer than any step, even the prefill of a long prompt on a CPU."""
_NO_END_TOKEN = -1
_CPU_MAX_ROWS = 24
"""More rows hardly increase the throughput of two cores: a step of 32 rows generated 1.1 times the
tokens of one of 24, and a request that arrives meanwhile waits for the step to end."""
_CPU_MAX_STEP_TOKENS = 512
"""The prefill of a long prompt is split into parts of this size, with decode steps in between."""
_SHORT_FIRST = "langchain_dbx_eval_short_first"
"""The ``scheduler_type`` of a `ContinuousBatchingConfig` that selects `_ShortFirstScheduler`."""
_SAFETY_MARGIN = 0.15  # the default of transformers' first-in-first-out scheduler


class ContinuousLoop:
    """Generate for many sequences with one model.

    Args:
        model: A causal language model of transformers.
        cache_tokens: The capacity of the cache in tokens, for all sequences together; None:
            transformers uses the free memory of the accelerator.
    """

    def __init__(self, model: Any, cache_tokens: int | None) -> None:
        self._model = model
        self._blocks = None if cache_tokens is None else -(-cache_tokens // _PAGE_TOKENS)
        self._lock = threading.Lock()
        self._running: dict[str, TokenSequence] = {}
        self._deliveries = DeliveryQueue()
        self._manager: Any = None
        self._sampling = _RowSampling(self._running)
        self._stopped = True
        self._busy_since = 0.0

    def start(self) -> None:
        """Start the thread. Has no effect if it runs; restarts a failed one."""
        with self._lock:
            self._running_manager()

    def submit(self, sequence: TokenSequence) -> None:
        """Queue a sequence; the generating thread passes its tokens to `TokenSequence.feed`.

        If the thread has failed and is about to end, wait for its end and start a new one.
        """
        with self._lock:
            accepted = self._add(sequence)
            if not accepted:
                self._manager.join(time.perf_counter(), _STOP_TIMEOUT_S)
                accepted = self._add(sequence)
        if not accepted:
            sequence.abort()

    def drop(self, sequence: TokenSequence) -> None:
        """Remove a sequence before its next token."""
        if self._running.pop(sequence.id, None) is not None:
            self._cancel(sequence.id)

    def stop(self) -> None:
        """Fail unfinished sequences, and end the thread."""
        with self._lock:
            manager, self._manager = self._manager, None
            self._stopped = True
        self._fail_all()
        if manager is not None:
            manager.stop(block=True, timeout=_STOP_TIMEOUT_S, hard_stop=True)
        self._fail_all()

    def health(self) -> str | None:
        """Return why the loop does not work. Restarts a failed thread."""
        if self._stopped:
            return "The model's worker does not run."
        self.start()
        idle = time.monotonic() - max(self._sampling.last_step, self._busy_since)
        if self._running and idle > _STUCK_S:
            return f"The model's worker has not started a step for {idle:.0f} s."
        return None

    def _running_manager(self) -> Any:
        """Return the manager, a new one if its thread has ended. The caller holds the lock."""
        if self._manager is None or not self._manager.is_running():
            # A sequence that was queued after the thread failed the queued ones would wait forever.
            self._fail_all()
            self._manager = self._new_manager()
            self._manager.start()
            self._stopped = False
        return self._manager

    def _add(self, sequence: TokenSequence) -> bool:
        """Queue a sequence, and return False if the thread is ending. The caller holds the lock."""
        manager = self._running_manager()
        if not self._running:
            self._busy_since = time.monotonic()
        self._running[sequence.id] = sequence
        accepted = manager.add_request(
            sequence.prompt,
            request_id=sequence.id,
            max_new_tokens=sequence.max_new_tokens,
            streaming=True,
            eos_token_id=_NO_END_TOKEN,
        )
        if accepted is None:  # the manager only logs the rejection
            self._running.pop(sequence.id, None)
        return accepted is not None

    def _new_manager(self) -> Any:
        config = ContinuousBatchingConfig(
            page_size=_PAGE_TOKENS,
            num_blocks=self._blocks,
            **_step_limits(self._model.device),
            # Both compute the next step before this one is sampled, row by row in Python.
            use_async_batching=False,
            use_cuda_graph=False,
        )
        greedy = GenerationConfig(do_sample=False, eos_token_id=_NO_END_TOKEN)
        manager = self._model.init_continuous_batching(
            generation_config=greedy, continuous_batching_config=config
        )
        sampling = ContinuousBatchingLogitsProcessorList([self._sampling])
        # The list counts only processors that it converted itself (transformers 5.23).
        sampling.tensors_required = 1
        manager.logit_processor = sampling
        manager.output_router = _Router(self._feed, self._deliver)
        return manager

    def _feed(self, output: Any) -> None:
        sequence = self._running.get(output.request_id)
        if sequence is None:
            return
        if output.error is not None:
            self._running.pop(output.request_id, None)
            sequence.fail(DriverServerError(f"Generation failed: {output.error}"))
            return
        for token in output.generated_tokens[len(sequence.tokens) :]:
            sequence.feed(token)
            if sequence.done:
                break
        if sequence.done:
            self._running.pop(output.request_id, None)
            if not output.is_finished():
                self._cancel(output.request_id)
        if sequence.has_output:
            self._deliveries.put(sequence)

    def _deliver(self, seconds: float) -> None:
        self._deliveries.step(seconds)
        if not self._running:
            self._deliveries.flush()

    def _cancel(self, request_id: str) -> None:
        manager = self._manager
        if manager is not None:  # stopping a manager cancels its requests
            manager.cancel_request(request_id)

    def _fail_all(self) -> None:
        for sequence_id in list(self._running):
            # The generating thread and those of the requests remove sequences at the same time.
            sequence = self._running.pop(sequence_id, None)
            if sequence is not None:
                sequence.abort()


class _Router(OutputRouter):
    """Pass outputs on in the generating thread; transformers' router uses a queue."""

    def __init__(self, feed: Callable[[Any], None], deliver: Callable[[float], None]) -> None:
        super().__init__()
        self._feed = feed
        self._deliver = deliver
        self._last_step = time.monotonic()

    def deliver(self, output: Any) -> None:
        self._feed(output)

    def deliver_batch(self, outputs: list[Any]) -> None:
        for output in outputs:
            self._feed(output)
        now = time.monotonic()
        self._deliver(now - self._last_step)
        self._last_step = now


class _RowSampling(ContinuousBatchingLogitsProcessor):
    """Sample each row of a step by the parameters of its sequence."""

    supported_kwargs: dict[str, type] = {}  # noqa: RUF012 - declared so by the base class
    ignored_kwargs = ()

    def __init__(self, running: dict[str, TokenSequence]) -> None:
        self._running = running
        self._rows: list[TokenSequence | None] = []
        self.last_step = 0.0
        """When the last step started, by the monotonic clock."""

    def fill_defaults(self, int32_tensor: torch.Tensor) -> None:
        int32_tensor.zero_()

    def prepare_tensor_args(self, requests_with_new_token: Sequence[Any]) -> torch.Tensor:
        # The rows of the next step, in their order; the returned tensor is not used.
        self._rows = [self._running.get(row.state.request_id) for row in requests_with_new_token]
        self.last_step = time.monotonic()
        return torch.zeros(len(self._rows), dtype=torch.int32)

    def __call__(self, scores: torch.Tensor, tensor_arg: torch.Tensor) -> torch.Tensor:  # noqa: ARG002
        return sample_rows(scores, self._rows)


class _ShortFirstScheduler(Scheduler):
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


SCHEDULER_MAPPING[_SHORT_FIRST] = _ShortFirstScheduler


def _step_limits(device: torch.device) -> dict[str, Any]:
    """Limit the steps on a CPU; on an accelerator all rows take about as long as one."""
    if device.type != "cpu":
        return {}
    return {
        "scheduler_type": _SHORT_FIRST,
        "max_requests_per_batch": _CPU_MAX_ROWS,
        "max_batch_tokens": _CPU_MAX_STEP_TOKENS,
    }
