"""Which calls of a chain become rows of the evaluation.

A call is a root run: a run whose parent the handler has not received (see `capture.handler`). All
runs below it are steps of its row. `RowSelector` decides when a call starts whether it becomes a
row; a call that does not is not recorded at all.
"""

from __future__ import annotations

import hashlib
from uuid import UUID

from langchain_dbx_eval.errors import ConfigurationError

__all__ = ["RowSelector"]

_HASHES = 2**64


class RowSelector:
    """Selects a random sample of calls; the decision for a run id is always the same.

    Args:
        sample_rate: The fraction of calls that become rows, from 0 to 1.

    Attributes:
        left_out: Number of calls that were not selected.

    Raises:
        ConfigurationError: The rate is out of range.
    """

    def __init__(self, sample_rate: float) -> None:
        if not 0 <= sample_rate <= 1:
            msg = f"sample_rate={sample_rate!r} must be between 0 and 1."
            raise ConfigurationError(msg)
        self._limit = sample_rate * _HASHES
        self.left_out = 0

    def __call__(self, run_id: UUID) -> bool:
        """Return whether the call with this run id becomes a row."""
        if self._limit == _HASHES:
            return True
        # LangChain's ids start with the time, so the ids themselves are not evenly distributed.
        digest = hashlib.blake2b(run_id.bytes, digest_size=8).digest()
        is_selected = int.from_bytes(digest, "big") < self._limit
        self.left_out += not is_selected
        return is_selected
