"""Which calls of a chain are looked at."""

from __future__ import annotations

import hashlib
from uuid import UUID

from langchain_dbx_eval.errors import ConfigurationError

__all__ = ["Sampler"]

_ALL = 2**64


class Sampler:
    """Keeps a share of all runs. The same run is always decided in the same way.

    Args:
        rate: The share, from 0 to 1.

    Raises:
        ConfigurationError: The rate is none.
    """

    def __init__(self, rate: float) -> None:
        if not 0 <= rate <= 1:
            msg = f"sample_rate={rate!r} is no share of calls. Give a number from 0 to 1."
            raise ConfigurationError(msg)
        self._below = rate * _ALL
        self.left_out = 0
        """How many runs were not kept."""

    def __call__(self, run_id: UUID) -> bool:
        """Whether a run is kept."""
        # LangChain's ids begin with the time, so they are no even spread themselves.
        digest = hashlib.blake2b(run_id.bytes, digest_size=8).digest()
        kept = int.from_bytes(digest, "big") < self._below
        self.left_out += not kept
        return kept
