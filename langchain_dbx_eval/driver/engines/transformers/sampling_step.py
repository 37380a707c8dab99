"""One step of a batch, each row sampled by its own parameters: what both loops share."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from langchain_dbx_eval.driver.engines.transformers.sequence import Completion

if TYPE_CHECKING:
    from torch import Tensor

    from langchain_dbx_eval.driver.engines.transformers.sampling import SamplingFilters

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
    groups: dict[SamplingFilters, list[_Draw]] = {}
    for number, row in enumerate(rows):
        if row is None or row.done or row.sampler is None:
            continue
        try:
            if row.sampler.penalizes:
                logits = scores[number : number + 1]
                logits[:] = row.sampler.penalized(logits, row.prompt, row.tokens)
        except Exception as error:
            _fail(row, error)
            continue
        if row.sampler.seed is not None:
            draw = _Draw(number, row, row.sampler.seed)
            groups.setdefault(row.sampler.narrowing, []).append(draw)
    for narrowing, draws in groups.items():
        _draw(scores, narrowing, draws)
    return scores


class _Draw(NamedTuple):
    number: int
    row: Completion
    seed: int


def _draw(scores: Tensor, narrowing: SamplingFilters, draws: Sequence[_Draw]) -> None:
    from langchain_dbx_eval.driver.engines.transformers.sampling import (
        gumbel_noise,  # imports torch
    )

    numbers = [draw.number for draw in draws]
    try:
        narrowed = narrowing(scores[numbers])
        noise = gumbel_noise(narrowed, [(draw.seed, len(draw.row.tokens)) for draw in draws])
        scores[numbers] = narrowed + noise
    except Exception as error:
        if len(draws) == 1:
            _fail(draws[0].row, error)
            return
        for draw in draws:
            _draw(scores, narrowing, [draw])


def _fail(row: Completion, error: Exception) -> None:
    _log.error("Sampling failed for one row", exc_info=error)
    row.fail(error)
