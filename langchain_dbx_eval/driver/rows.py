"""One step of a batch, each row sampled by itself: what both loops share."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from langchain_dbx_eval.driver.completion import Completion

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["sample_rows"]

_log = logging.getLogger(__name__)


def sample_rows(scores: Tensor, rows: Sequence[Completion | None]) -> Tensor:
    """Change logits so that the largest of each row is the token to take.

    Each row has the sampler of its own completion. One that fails ends its own completion, not
    those of its neighbours.

    Args:
        scores: Shape ``[at least len(rows), vocabulary]``, float32; changed in place.
        rows: The completion of each row; ``None`` for one that is over.

    Returns:
        The scores.
    """
    for number, row in enumerate(rows):
        if row is None or row.done or row.sampler is None:
            continue
        try:
            logits = scores[number : number + 1]
            scores[number : number + 1] = row.sampler(logits, row.prompt, row.tokens)
        except Exception as error:
            _log.exception("Sampling failed for one row")
            row.fail(error)
    return scores
