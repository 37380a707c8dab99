"""Continuous batching: a request joins and leaves the running batch at any token. Needs torch.

The scheduling and the paged cache are transformers' own. What it lacks is added at two places
that it offers: a logits processor that samples each row by itself, and an output router that hands
each new token over in the generating thread, where a stop string, an end token or the limit ends
the row before its next step.
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

from langchain_dbx_eval.driver.engines.transformers.delivery import Outbox
from langchain_dbx_eval.driver.engines.transformers.sampling_step import sample_rows
from langchain_dbx_eval.driver.engines.transformers.scheduler import SHORT_FIRST
from langchain_dbx_eval.driver.engines.transformers.sequence import Completion
from langchain_dbx_eval.errors import DriverServerError

__all__ = ["ContinuousLoop"]

_PAGE = 256
_STOP_S = 30.0
_STUCK_S = 120.0
"""Longer than a step takes even where a long prompt is read on a CPU."""
_NO_END_TOKEN = -1
_CPU_ROWS = 24
"""On two cores more of them win little: a step of 32 rows gave 1.1 times the tokens of one of 24,
and a request that comes in between waits for it to end."""
_CPU_STEP_TOKENS = 512
"""A long prompt is read in parts of so many tokens, and the answers of others go on in between."""


class ContinuousLoop:
    """Runs one model for many completions.

    Args:
        model: A causal language model of transformers.
        cache_tokens: Tokens that the cache holds, of all requests together; ``None`` lets
            transformers fill the accelerator's free memory.
    """

    def __init__(self, model: Any, cache_tokens: int | None) -> None:
        self._model = model
        self._blocks = None if cache_tokens is None else -(-cache_tokens // _PAGE)
        self._lock = threading.Lock()
        self._running: dict[str, Completion] = {}
        self._outbox = Outbox()
        self._manager: Any = None
        self._sampling = _RowSampling(self._running)
        self._stopped = True
        self._begun = 0.0

    def start(self) -> None:
        """Begin to work. Does nothing when it works; begins anew when it broke."""
        self._started()

    def submit(self, completion: Completion) -> None:
        """Take a completion on; its tokens are fed to it until it is done."""
        manager = self._started()
        if not self._running:
            self._begun = time.monotonic()
        self._running[completion.id] = completion
        accepted = manager.add_request(
            completion.prompt,
            request_id=completion.id,
            max_new_tokens=completion.limit,
            streaming=True,
            eos_token_id=_NO_END_TOKEN,
        )
        if accepted is None:  # it is stopping, and only logs that
            self._running.pop(completion.id, None)
            completion.fail(_not_running())

    def drop(self, completion: Completion) -> None:
        """Forget a completion, before its next token."""
        if self._running.pop(completion.id, None) is not None:
            self._cancel(completion.id)

    def stop(self) -> None:
        """Fail what is not done, and end the thread."""
        with self._lock:
            manager, self._manager = self._manager, None
            self._stopped = True
        self._fail_all()
        if manager is not None:
            manager.stop(block=True, timeout=_STOP_S, hard_stop=True)
        self._fail_all()

    def health(self) -> str | None:
        """Why it does not work. A loop that broke is begun anew, by this too."""
        if self._stopped:
            return "The model's worker does not run."
        self._started()
        silent = time.monotonic() - max(self._sampling.stepped, self._begun)
        if self._running and silent > _STUCK_S:
            return f"The model's worker has not begun a step for {silent:.0f} s."
        return None

    def _started(self) -> Any:
        with self._lock:
            if self._manager is None or not self._manager.is_running():
                self._manager = self._new_manager()
                self._manager.start()
                self._stopped = False
            return self._manager

    def _new_manager(self) -> Any:
        config = ContinuousBatchingConfig(
            page_size=_PAGE,
            num_blocks=self._blocks,
            **_cpu_steps(self._model.device),
            # Both run ahead of the sampling, which is done row by row in Python.
            use_async_batching=False,
            use_cuda_graph=False,
        )
        greedy = GenerationConfig(do_sample=False, eos_token_id=_NO_END_TOKEN)
        manager = self._model.init_continuous_batching(
            generation_config=greedy, continuous_batching_config=config
        )
        sampling = ContinuousBatchingLogitsProcessorList([self._sampling])
        # The list counts only the processors that it converted itself (transformers 5.23).
        sampling.tensors_required = 1
        manager.logit_processor = sampling
        manager.output_router = _Router(self._feed, self._hand_over)
        return manager

    def _feed(self, output: Any) -> None:
        completion = self._running.get(output.request_id)
        if completion is None:
            return
        if output.error is not None:
            self._running.pop(output.request_id, None)
            completion.fail(DriverServerError(f"Generation failed: {output.error}"))
            return
        for token in output.generated_tokens[len(completion.tokens) :]:
            if completion.feed(token):
                break
        if completion.done:
            self._running.pop(output.request_id, None)
            if not output.is_finished():
                self._cancel(output.request_id)
        if completion.has_news:
            self._outbox.put(completion)

    def _hand_over(self, seconds: float) -> None:
        self._outbox.step(seconds)
        if not self._running:
            self._outbox.empty()

    def _cancel(self, request_id: str) -> None:
        manager = self._manager
        if manager is not None:  # else all of its requests end with it
            manager.cancel_request(request_id)

    def _fail_all(self) -> None:
        while self._running:
            _, completion = self._running.popitem()
            completion.fail(_not_running())


class _Router(OutputRouter):
    """Takes outputs in the thread that generates, where the other one goes through a queue."""

    def __init__(self, feed: Callable[[Any], None], step: Callable[[float], None]) -> None:
        super().__init__()
        self._feed = feed
        self._step = step
        self._stepped = time.monotonic()

    def deliver(self, output: Any) -> None:
        self._feed(output)

    def deliver_batch(self, outputs: list[Any]) -> None:
        for output in outputs:
            self._feed(output)
        now = time.monotonic()
        self._step(now - self._stepped)
        self._stepped = now


class _RowSampling(ContinuousBatchingLogitsProcessor):
    """Samples each row of a step by its own request."""

    supported_kwargs: dict[str, type] = {}  # noqa: RUF012 - the base class declares it so
    ignored_kwargs = ()

    def __init__(self, running: dict[str, Completion]) -> None:
        self._running = running
        self._step: list[Completion | None] = []
        self.stepped = 0.0
        """When the last step began."""

    def fill_defaults(self, int32_tensor: torch.Tensor) -> None:
        int32_tensor.zero_()

    def prepare_tensor_args(self, requests_with_new_token: Sequence[Any]) -> torch.Tensor:
        # The rows of the next step, in their order; the tensor that is asked for stays unused.
        self._step = [self._running.get(row.state.request_id) for row in requests_with_new_token]
        self.stepped = time.monotonic()
        return torch.zeros(len(self._step), dtype=torch.int32)

    def __call__(self, scores: torch.Tensor, tensor_arg: torch.Tensor) -> torch.Tensor:  # noqa: ARG002
        return sample_rows(scores, self._step)


def _cpu_steps(device: torch.device) -> dict[str, Any]:
    """How steps are filled on a CPU; an accelerator takes all rows in nearly the time of one."""
    if device.type != "cpu":
        return {}
    return {
        "scheduler_type": SHORT_FIRST,
        "max_requests_per_batch": _CPU_ROWS,
        "max_batch_tokens": _CPU_STEP_TOKENS,
    }


def _not_running() -> DriverServerError:
    return DriverServerError("The model's worker stopped before the answer was ready.")
