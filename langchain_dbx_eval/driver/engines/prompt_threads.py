"""Several prompts of one request at the same time, for an engine that takes one a call."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

from langchain_dbx_eval.driver.engines.base import Generation, GenerationRequest

__all__ = ["PromptThreads"]


class PromptThreads:
    """A bounded number of threads for the prompts of all requests, made when first needed.

    Args:
        most: How many prompts are worked on at once.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None

    def all(
        self,
        generate: Callable[[GenerationRequest], Generation],
        requests: Sequence[GenerationRequest],
    ) -> list[Generation]:
        """Complete prompts.

        Args:
            generate: Completes one.
            requests: The prompts, of one request and so of one deadline.

        Returns:
            The completions, in the order of the prompts.

        Raises:
            Exception: What the first prompt that failed raised. The others end by their deadline.
        """

        def one(request: GenerationRequest) -> Generation:
            request.call.check()  # it may have waited here
            return generate(request)

        futures = [self._threads().submit(one, request) for request in requests]
        try:
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            for failed in done:
                failed.result()
            return [future.result() for future in futures]
        finally:
            for future in futures:
                future.cancel()

    def close(self) -> None:
        """End the threads as they become free."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)

    def _threads(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._most, "dbx-eval-prompt")
            return self._pool
