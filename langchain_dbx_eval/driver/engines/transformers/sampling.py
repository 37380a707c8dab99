"""The choice of the next token, for each row of a batch by its own parameters. Needs torch.

Each row has its own randomness, so that an answer with a seed is the same alone and beside any
others; rows that are narrowed alike are narrowed together. A token is drawn by the Gumbel-max
trick (the largest of ``logits + Gumbel noise`` is a sample of their softmax; Gumbel 1954, Maddison
et al. 2014), which leaves an argmax to the loop, whatever the row.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import GenerationConfig

__all__ = ["SAMPLING_PARAMETERS", "RowSampler", "SamplingFilters", "gumbel_noise", "sampler_for"]

SAMPLING_PARAMETERS = frozenset(
    {
        "frequency_penalty",
        "min_p",
        "presence_penalty",
        "repetition_penalty",
        "seed",
        "temperature",
        "top_k",
        "top_p",
    }
)
_ASKS_FOR_SAMPLING = ("temperature", "top_p", "top_k", "min_p", "seed")
_GREEDY_BELOW = 1e-5
"""By less the logits leave the range of float32; vLLM takes the same bound."""
# An odd 64-bit constant (2**64 over the golden ratio) spreads neighbouring seeds far apart.
_SPREAD = 0x9E3779B97F4A7C15


@dataclass(frozen=True, slots=True)
class SamplingFilters:
    """What narrows the distribution of a row, as transformers does it.

    Attributes:
        temperature: Above 0.
        top_k: The most tokens that are left; 0 leaves all.
        top_p: The probability that is left; 1 leaves all.
        min_p: The least probability, as a part of the largest; 0 leaves all.
    """

    temperature: float
    top_k: int
    top_p: float
    min_p: float

    def __call__(self, scores: Tensor) -> Tensor:
        """Narrow some rows.

        Args:
            scores: Shape ``[rows, vocabulary]``, float32.

        Returns:
            Scores of the same shape.
        """
        tokens = torch.empty(0)  # these look at scores only
        narrowed: Tensor = self._warpers()(tokens, scores)
        return narrowed

    def _warpers(self) -> LogitsProcessorList:
        warpers = LogitsProcessorList()
        if self.temperature != 1:
            warpers.append(TemperatureLogitsWarper(self.temperature))
        if self.top_k > 0:
            warpers.append(TopKLogitsWarper(self.top_k))
        if self.top_p < 1:
            warpers.append(TopPLogitsWarper(self.top_p))
        if self.min_p > 0:
            warpers.append(MinPLogitsWarper(self.min_p))
        return warpers


@dataclass(frozen=True, slots=True)
class RowSampler:
    """Chooses the tokens of one answer.

    Attributes:
        narrowing: What narrows the distribution.
        repetition: transformers' ``repetition_penalty``; 1 for none.
        frequency: OpenAI's ``frequency_penalty``.
        presence: OpenAI's ``presence_penalty``.
        seed: Where the randomness begins; ``None`` takes the most probable token.
    """

    narrowing: SamplingFilters
    repetition: float
    frequency: float
    presence: float
    seed: int | None

    @property
    def penalizes(self) -> bool:
        """Whether the logits are changed by what was said before."""
        return self.repetition != 1 or bool(self.frequency or self.presence)

    def penalized(self, scores: Tensor, prompt: Sequence[int], tokens: Sequence[int]) -> Tensor:
        """Change one row of logits by what was said before.

        Args:
            scores: Shape ``[1, vocabulary]``, float32.
            prompt: The prompt's tokens.
            tokens: The answer's tokens so far.

        Returns:
            Scores of the same shape.
        """
        if self.repetition != 1:
            seen = torch.tensor([[*prompt, *tokens]], device=scores.device)
            scores = RepetitionPenaltyLogitsProcessor(self.repetition)(seen, scores)
        if not tokens or not (self.frequency or self.presence):
            return scores
        so_far = torch.tensor(tokens, device=scores.device)
        counts = torch.bincount(so_far, minlength=scores.shape[-1]).to(scores.dtype)
        return scores - self.frequency * counts - self.presence * (counts > 0)


def gumbel_noise(scores: Tensor, draws: Iterable[tuple[int, int]]) -> Tensor:
    """Draw the noise whose addition makes the largest score a sample.

    Args:
        scores: Shape ``[rows, vocabulary]``.
        draws: The seed of each row, and the number of its tokens so far.

    Returns:
        The noise, of the same shape.
    """
    noise = torch.empty_like(scores)
    generator = torch.Generator(device=scores.device)
    for row, (seed, step) in zip(noise, draws, strict=True):
        # By the step, not by a running state: a request that is begun again goes on the same.
        generator.manual_seed((seed * _SPREAD + step) % 2**63)
        row.exponential_(generator=generator)
    # The logarithm of an exponential variable is Gumbel noise, with its sign turned.
    return -noise.clamp_min_(torch.finfo(noise.dtype).tiny).log_()


def sampler_for(params: Mapping[str, Any], defaults: GenerationConfig) -> RowSampler | None:
    """Make the sampler of a request.

    Without a word about sampling in the request, the model's own generation config decides; a
    request with a temperature of 0, or nearly so, is greedy.

    Args:
        params: Checked parameters.
        defaults: The model's generation config.

    Returns:
        The sampler; ``None`` where the most probable token is taken as it is.
    """
    asked = any(name in params for name in _ASKS_FOR_SAMPLING)
    usual = {} if asked or not defaults.do_sample else defaults.to_dict()
    values = {name: params.get(name, usual.get(name)) for name in SAMPLING_PARAMETERS}
    temperature = values["temperature"]
    if temperature is None:
        temperature = 1.0 if asked or usual else 0.0
    repetition = float(params.get("repetition_penalty", defaults.repetition_penalty) or 1.0)
    frequency, presence = values["frequency_penalty"] or 0.0, values["presence_penalty"] or 0.0
    narrowing = SamplingFilters(
        temperature=float(temperature),
        top_k=max(0, values["top_k"] or 0),
        top_p=1.0 if values["top_p"] is None else float(values["top_p"]),
        min_p=float(values["min_p"] or 0),
    )
    if temperature >= _GREEDY_BELOW:
        seed = secrets.randbits(62) if values["seed"] is None else values["seed"]
        return RowSampler(narrowing, repetition, frequency, presence, seed)
    greedy = RowSampler(narrowing, repetition, frequency, presence, None)
    return greedy if greedy.penalizes else None
