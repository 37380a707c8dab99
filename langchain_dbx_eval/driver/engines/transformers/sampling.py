"""The choice of the next token of each row in a batch, by its own parameters. Needs torch.

Each row has its own random generator, so that a completion with a seed is the same alone and in any
batch; rows with equal filters are filtered together. A token is drawn by the Gumbel-max trick (the
index of the largest of ``logits + Gumbel noise`` is a sample of their softmax; Gumbel 1954,
Maddison et al. 2014), so that both batch loops always take the argmax.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from langchain_dbx_eval._internal.log import get_logger
from langchain_dbx_eval.driver.engines.parameters import LENGTH_NAMES, PARAMETERS

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import GenerationConfig

    from langchain_dbx_eval.driver.engines.transformers.sequence import TokenSequence

__all__ = ["RowSampler", "SamplingFilters", "create_sampler", "sample_rows"]

_log = get_logger(__name__)

_PARAMETERS = frozenset(PARAMETERS).difference(LENGTH_NAMES)
_ENABLE_SAMPLING = ("temperature", "top_p", "top_k", "min_p", "seed")
_GREEDY_BELOW = 1e-5
"""A lower temperature scales logits beyond the range of float32; vLLM has the same bound."""
# An odd 64-bit constant (2**64 divided by the golden ratio) maps neighboring seeds far apart.
_SPREAD = 0x9E3779B97F4A7C15


@dataclass(frozen=True, slots=True)
class SamplingFilters:
    """The filters of a row's distribution, applied as in transformers.

    Attributes:
        temperature: Above 0.
        top_k: The number of most probable tokens to keep; 0: all.
        top_p: The cumulative probability to keep; 1: all.
        min_p: The minimum probability, as a fraction of the largest; 0: all.
    """

    temperature: float
    top_k: int
    top_p: float
    min_p: float

    def __call__(self, scores: Tensor) -> Tensor:
        """Filter rows of logits.

        Args:
            scores: Shape ``[rows, vocabulary]``, float32.

        Returns:
            Scores of the same shape; removed tokens have ``-inf``.
        """
        warpers = LogitsProcessorList()
        if self.temperature != 1:
            warpers.append(TemperatureLogitsWarper(self.temperature))
        if self.top_k > 0:
            warpers.append(TopKLogitsWarper(self.top_k))
        if self.top_p < 1:
            warpers.append(TopPLogitsWarper(self.top_p))
        if self.min_p > 0:
            warpers.append(MinPLogitsWarper(self.min_p))
        input_ids = torch.empty(0)  # not used by these warpers
        filtered: Tensor = warpers(input_ids, scores)
        return filtered


@dataclass(frozen=True, slots=True)
class RowSampler:
    """The sampling parameters of one sequence.

    Attributes:
        filters: The filters of the distribution.
        repetition: transformers' ``repetition_penalty``; 1: none.
        frequency: OpenAI's ``frequency_penalty``.
        presence: OpenAI's ``presence_penalty``.
        seed: The seed of the random generator; None: take the most probable token.
    """

    filters: SamplingFilters
    repetition: float
    frequency: float
    presence: float
    seed: int | None

    @property
    def penalizes(self) -> bool:
        """Whether the logits depend on the previous tokens."""
        return self.repetition != 1 or bool(self.frequency or self.presence)

    def penalize(self, scores: Tensor, prompt: Sequence[int], tokens: Sequence[int]) -> Tensor:
        """Apply the penalties for previous tokens to one row of logits.

        Args:
            scores: Shape ``[1, vocabulary]``, float32.
            prompt: The tokens of the prompt.
            tokens: The tokens of the completion so far.

        Returns:
            Scores of the same shape.
        """
        if self.repetition != 1:
            seen = torch.tensor([[*prompt, *tokens]], device=scores.device)
            scores = RepetitionPenaltyLogitsProcessor(self.repetition)(seen, scores)
        if not tokens or not (self.frequency or self.presence):
            return scores
        completion = torch.tensor(tokens, device=scores.device)
        counts = torch.bincount(completion, minlength=scores.shape[-1]).to(scores.dtype)
        return scores - self.frequency * counts - self.presence * (counts > 0)


def create_sampler(params: Mapping[str, Any], defaults: GenerationConfig) -> RowSampler | None:
    """Create the sampler of a request.

    If the request has no sampling parameter, the model's generation config applies. A temperature
    of 0, or nearly 0, is greedy decoding.

    Args:
        params: Validated generation parameters.
        defaults: The model's generation config.

    Returns:
        The sampler; None for greedy decoding without penalties.
    """
    sampling = any(name in params for name in _ENABLE_SAMPLING)
    fallback = {} if sampling or not defaults.do_sample else defaults.to_dict()
    values = {name: params.get(name, fallback.get(name)) for name in _PARAMETERS}
    temperature = values["temperature"]
    if temperature is None:
        temperature = 1.0 if sampling or fallback else 0.0
    repetition = float(params.get("repetition_penalty", defaults.repetition_penalty) or 1.0)
    frequency, presence = values["frequency_penalty"] or 0.0, values["presence_penalty"] or 0.0
    filters = SamplingFilters(
        temperature=float(temperature),
        top_k=max(0, values["top_k"] or 0),
        top_p=1.0 if values["top_p"] is None else float(values["top_p"]),
        min_p=float(values["min_p"] or 0),
    )
    if temperature >= _GREEDY_BELOW:
        seed = secrets.randbits(62) if values["seed"] is None else values["seed"]
        return RowSampler(filters, repetition, frequency, presence, seed)
    greedy = RowSampler(filters, repetition, frequency, presence, None)
    return greedy if greedy.penalizes else None


def sample_rows(scores: Tensor, rows: Sequence[TokenSequence | None]) -> Tensor:
    """Change logits so that the argmax of each row is its next token.

    A sampler that raises fails its own sequence only.

    Args:
        scores: Shape ``[at least len(rows), vocabulary]``, float32; changed in place.
        rows: The sequence of each row; None for one that is done.

    Returns:
        The scores.
    """
    groups: dict[SamplingFilters, list[_Draw]] = {}
    for index, row in enumerate(rows):
        if row is None or row.done or row.sampler is None:
            continue
        try:
            if row.sampler.penalizes:
                logits = scores[index : index + 1]
                logits[:] = row.sampler.penalize(logits, row.prompt, row.tokens)
        except Exception as error:
            _fail(row, error)
            continue
        if row.sampler.seed is not None:
            draw = _Draw(index, row, row.sampler.seed)
            groups.setdefault(row.sampler.filters, []).append(draw)
    for filters, draws in groups.items():
        _draw(scores, filters, draws)
    return scores


def _gumbel_noise(scores: Tensor, draws: Iterable[tuple[int, int]]) -> Tensor:
    """Draw Gumbel noise for rows of logits.

    Args:
        scores: Shape ``[rows, vocabulary]``.
        draws: The seed of each row, and the number of its tokens so far.

    Returns:
        The noise, of the same shape.
    """
    noise = torch.empty_like(scores)
    generator = torch.Generator(device=scores.device)
    for row, (seed, step) in zip(noise, draws, strict=True):
        # Seeded at each step: a sequence that is repeated has the same tokens again.
        generator.manual_seed((seed * _SPREAD + step) % 2**63)
        row.exponential_(generator=generator)
    # The negative logarithm of an exponential variable is Gumbel noise.
    return -noise.clamp_min_(torch.finfo(noise.dtype).tiny).log_()


class _Draw(NamedTuple):
    row_index: int
    row: TokenSequence
    seed: int


def _draw(scores: Tensor, filters: SamplingFilters, draws: Sequence[_Draw]) -> None:
    indices = [draw.row_index for draw in draws]
    try:
        filtered = filters(scores[indices])
        noise = _gumbel_noise(filtered, [(draw.seed, len(draw.row.tokens)) for draw in draws])
        scores[indices] = filtered + noise
    except Exception as error:
        if len(draws) == 1:
            _fail(draws[0].row, error)
            return
        for draw in draws:
            _draw(scores, filters, [draw])


def _fail(row: TokenSequence, error: Exception) -> None:
    _log.error("Sampling failed for one sequence", exc_info=error)
    row.fail(error)
