"""Micro-batching: what is queued becomes one batch, which runs to its end. Needs torch.

For models that continuous batching cannot take. A short answer waits for the longest of the batch
before it; measured, a request of 4 tokens behind one of 250 took 38 times as long as alone.
"""

from __future__ import annotations

import logging
import queue
import threading
from typing import Any

import torch
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList
from transformers.generation import StoppingCriteria, StoppingCriteriaList

from langchain_dbx_eval.driver.engines.transformers.sampling_step import sample_rows
from langchain_dbx_eval.driver.engines.transformers.sequence import Completion
from langchain_dbx_eval.errors import DriverServerError

__all__ = ["MicroBatchLoop"]

_log = logging.getLogger(__name__)

_MAX_ROWS = 32
_STOP_S = 30.0


class MicroBatchLoop:
    """Runs one model for the completions that are queued, batch after batch.

    Args:
        model: A causal language model of transformers.
        pad_token: The token to fill short prompts with, on their left.
    """

    def __init__(self, model: Any, pad_token: int) -> None:
        self._model = model
        self._pad_token = pad_token
        self._queue: queue.SimpleQueue[Completion | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopping = False

    def start(self) -> None:
        """Begin to work. Does nothing when it works."""
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._stopping = False
                self._thread = threading.Thread(target=self._run, name="dbx-eval-micro-batches")
                self._thread.start()

    def submit(self, completion: Completion) -> None:
        """Take a completion on; its tokens are fed to it until it is done."""
        self.start()
        self._queue.put(completion)

    def drop(self, completion: Completion) -> None:
        """Forget a completion: it is done, and so left out of its batch's next step."""

    def stop(self) -> None:
        """Fail what is not done, and end the thread."""
        with self._lock:
            thread, self._thread = self._thread, None
            self._stopping = True
        if thread is not None:
            self._queue.put(None)
            thread.join(_STOP_S)

    def health(self) -> str | None:
        """Why it does not work."""
        alive = self._thread is not None and self._thread.is_alive()
        return None if alive else "The model's worker does not run."

    def _run(self) -> None:
        while not self._stopping:
            batch = self._next_batch()
            if batch:
                self._generate_or_split(batch)
        for completion in self._queued():
            completion.fail(DriverServerError("The model's worker stopped before its turn."))

    def _next_batch(self) -> list[Completion]:
        first = self._queue.get()
        rows = [first, *self._queued(_MAX_ROWS - 1)]
        return [row for row in rows if row is not None and not row.done]

    def _queued(self, limit: int | None = None) -> list[Completion]:
        rows: list[Completion] = []
        while limit is None or len(rows) < limit:
            try:
                row = self._queue.get_nowait()
            except queue.Empty:
                break
            if row is not None:
                rows.append(row)
        return rows

    def _generate_or_split(self, batch: list[Completion]) -> None:
        try:
            self._generate(batch)
        except Exception as error:
            _log.exception("A batch of %d failed", len(batch))
            begun = [row for row in batch if row.tokens]
            for row in begun if len(batch) > 1 else batch:
                row.fail(error)
            # One bad row must not fail its neighbours: those that nothing was sent of go alone.
            for row in batch if len(batch) > 1 else []:
                if not row.done:
                    self._generate_or_split([row])

    @torch.inference_mode()
    def _generate(self, batch: list[Completion]) -> None:
        width = max(len(row.prompt) for row in batch)
        padded = [[self._pad_token] * (width - len(row.prompt)) + row.prompt for row in batch]
        mask = [[0] * (width - len(row.prompt)) + [1] * len(row.prompt) for row in batch]
        device = self._model.device
        self._model.generate(
            input_ids=torch.tensor(padded, device=device),
            attention_mask=torch.tensor(mask, device=device),
            generation_config=GenerationConfig(
                do_sample=False,
                max_new_tokens=max(row.limit for row in batch),
                pad_token_id=self._pad_token,
            ),
            logits_processor=LogitsProcessorList([_RowSampling(batch)]),
            stopping_criteria=StoppingCriteriaList([_Feed(batch, lambda: self._stopping)]),
        )
        for row in batch:  # generate() ends early where the model's own config says so
            row.fail(DriverServerError("The model's worker stopped before the answer was ready."))


class _RowSampling(LogitsProcessor):
    def __init__(self, batch: list[Completion]) -> None:
        self._batch = batch

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:  # noqa: ARG002
        return sample_rows(scores.float(), self._batch)


class _Feed(StoppingCriteria):
    """Hands each new token to its completion, and says which rows are done."""

    def __init__(self, batch: list[Completion], stopping: Any) -> None:
        self._batch = batch
        self._stopping = stopping

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:  # noqa: ARG002
        newest = input_ids[:, -1].tolist()
        for row, token in zip(self._batch, newest, strict=True):
            if not row.done:
                row.feed(token)
                if row.has_news:
                    row.hand_over()
        over = [row.done or self._stopping() for row in self._batch]
        return torch.tensor(over, device=input_ids.device)
