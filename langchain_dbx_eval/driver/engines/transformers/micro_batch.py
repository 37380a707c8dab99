"""Micro-batching: the queued sequences form a batch, which runs to its end. Needs torch.

For models without continuous batching. A short completion waits for the longest one of the previous
batch: measured, a request of 4 tokens after one of 250 took 38 times as long as alone.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList
from transformers.generation import StoppingCriteria, StoppingCriteriaList

from langchain_dbx_eval._internal.log import get_logger
from langchain_dbx_eval.driver.engines.transformers.sampling import sample_rows
from langchain_dbx_eval.driver.engines.transformers.sequence import TokenSequence

__all__ = ["MicroBatchLoop"]

_log = get_logger(__name__)

_MAX_ROWS = 32
_STOP_TIMEOUT_S = 30.0


class MicroBatchLoop:
    """Generate for the queued sequences with one model, one batch after the other.

    Args:
        model: A causal language model of transformers.
        pad_token: The token that pads short prompts on the left.
    """

    def __init__(self, model: Any, pad_token: int) -> None:
        self._model = model
        self._pad_token = pad_token
        self._queue: queue.SimpleQueue[TokenSequence | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopping = False

    def start(self) -> None:
        """Start the thread. Has no effect if it runs."""
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._stopping = False
                self._thread = threading.Thread(target=self._run, name="dbx-eval-micro-batches")
                self._thread.start()

    def submit(self, sequence: TokenSequence) -> None:
        """Queue a sequence; the generating thread passes its tokens to `TokenSequence.feed`."""
        self.start()
        self._queue.put(sequence)

    def drop(self, sequence: TokenSequence) -> None:
        """Do nothing: the sequence is marked done, and ignored from the next step on."""

    def stop(self) -> None:
        """Fail unfinished sequences, and end the thread."""
        with self._lock:
            thread, self._thread = self._thread, None
            self._stopping = True
        if thread is not None:
            self._queue.put(None)
            thread.join(_STOP_TIMEOUT_S)

    def health(self) -> str | None:
        """Return why the loop does not work."""
        is_alive = self._thread is not None and self._thread.is_alive()
        return None if is_alive else "The model's worker does not run."

    def _run(self) -> None:
        while not self._stopping:
            if batch := self._next_batch():
                self._generate_or_split(batch)
        with suppress(queue.Empty):
            while True:
                if row := self._queue.get_nowait():
                    row.abort()

    def _next_batch(self) -> list[TokenSequence]:
        rows = [self._queue.get()]
        with suppress(queue.Empty):
            while len(rows) < _MAX_ROWS:
                rows.append(self._queue.get_nowait())
        return [row for row in rows if row and not row.done]

    def _generate_or_split(self, batch: list[TokenSequence]) -> None:
        try:
            self._generate(batch)
        except Exception as error:
            _log.exception("A batch of %d sequences failed", len(batch))
            if len(batch) == 1:
                batch[0].fail(error)
                return
            # One bad row must not fail the others: those without any output are repeated alone.
            for row in batch:
                if row.tokens:
                    row.fail(error)
            for row in batch:
                if not row.done:
                    self._generate_or_split([row])

    @torch.inference_mode()
    def _generate(self, batch: list[TokenSequence]) -> None:
        width = max(len(row.prompt) for row in batch)
        padded = [[self._pad_token] * (width - len(row.prompt)) + row.prompt for row in batch]
        mask = [[0] * (width - len(row.prompt)) + [1] * len(row.prompt) for row in batch]
        device = self._model.device
        self._model.generate(
            input_ids=torch.tensor(padded, device=device),
            attention_mask=torch.tensor(mask, device=device),
            generation_config=GenerationConfig(
                do_sample=False,
                max_new_tokens=max(row.max_new_tokens for row in batch),
                pad_token_id=self._pad_token,
            ),
            logits_processor=LogitsProcessorList([_RowSampling(batch)]),
            stopping_criteria=StoppingCriteriaList([_Feed(batch, lambda: self._stopping)]),
        )
        for row in batch:  # generate() may end earlier by the model's own config
            row.abort()


class _RowSampling(LogitsProcessor):
    def __init__(self, batch: list[TokenSequence]) -> None:
        self._batch = batch

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:  # noqa: ARG002
        return sample_rows(scores.float(), self._batch)


class _Feed(StoppingCriteria):
    """Feed each new token to its sequence, and return which rows are done."""

    def __init__(self, batch: list[TokenSequence], stopping: Callable[[], bool]) -> None:
        self._batch = batch
        self._stopping = stopping

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:  # noqa: ARG002
        last_tokens = input_ids[:, -1].tolist()
        for row, token in zip(self._batch, last_tokens, strict=True):
            if not row.done:
                row.feed(token)
                if row.has_output:
                    row.notify()
        done = [row.done or self._stopping() for row in self._batch]
        return torch.tensor(done, device=input_ids.device)
