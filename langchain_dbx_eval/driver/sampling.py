"""The choice of the next token, for one row of a batch at a time. Needs torch.

Each row has its own parameters and its own randomness, so that an answer with a seed is the same
alone and beside any others. A token is drawn by the Gumbel-max trick (the largest of
``logits + Gumbel noise`` is a sample of their softmax; Gumbel 1954, Maddison et al. 2014), which
leaves an argmax to the loop, whatever the row.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
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

__all__ = ["SAMPLING_PARAMETERS", "RowSampler", "sampler_for"]

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
class RowSampler:
    """Chooses the tokens of one answer.

    Attributes:
        warpers: What narrows the distribution, from transformers; empty for a greedy answer.
        penalties: What changes the logits before that, from transformers.
        frequency: OpenAI's ``frequency_penalty``.
        presence: OpenAI's ``presence_penalty``.
        seed: Where the randomness begins; ``None`` takes the most probable token.
    """

    warpers: LogitsProcessorList
    penalties: LogitsProcessorList
    frequency: float
    presence: float
    seed: int | None

    def __call__(self, scores: Tensor, prompt: Sequence[int], tokens: Sequence[int]) -> Tensor:
        """Change one row of logits so that its largest is the token to take.

        Args:
            scores: Shape ``[1, vocabulary]``, float32.
            prompt: The prompt's tokens.
            tokens: The answer's tokens so far.

        Returns:
            Scores of the same shape.
        """
        seen = torch.tensor([[*prompt, *tokens]], device=scores.device)
        scores = self.penalties(seen, scores)
        scores = self._less_repeated(scores, tokens)
        if self.seed is None:
            return scores
        scores = self.warpers(seen, scores)
        # By the step, not by a running state: a request that is begun again goes on the same.
        generator = torch.Generator(device=scores.device)
        generator.manual_seed((self.seed * _SPREAD + len(tokens)) % 2**63)
        # The logarithm of an exponential variable is Gumbel noise, with its sign turned.
        noise = torch.empty_like(scores).exponential_(generator=generator)
        return scores - noise.clamp_min(torch.finfo(noise.dtype).tiny).log()

    def _less_repeated(self, scores: Tensor, tokens: Sequence[int]) -> Tensor:
        if not tokens or not (self.frequency or self.presence):
            return scores
        so_far = torch.tensor(tokens, device=scores.device)
        counts = torch.bincount(so_far, minlength=scores.shape[-1]).to(scores.dtype)
        return scores - self.frequency * counts - self.presence * (counts > 0)


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
    penalty = params.get("repetition_penalty", defaults.repetition_penalty) or 1.0
    penalties = LogitsProcessorList()
    if penalty != 1.0:
        penalties.append(RepetitionPenaltyLogitsProcessor(float(penalty)))
    frequency, presence = values["frequency_penalty"] or 0.0, values["presence_penalty"] or 0.0
    if temperature < _GREEDY_BELOW:
        if not (penalties or frequency or presence):
            return None
        return RowSampler(LogitsProcessorList(), penalties, frequency, presence, None)
    seed = secrets.randbits(62) if values["seed"] is None else values["seed"]
    return RowSampler(_warpers(temperature, values), penalties, frequency, presence, seed)


def _warpers(temperature: float, values: Mapping[str, Any]) -> LogitsProcessorList:
    warpers = LogitsProcessorList()
    if temperature != 1:
        warpers.append(TemperatureLogitsWarper(float(temperature)))
    if (values["top_k"] or 0) > 0:
        warpers.append(TopKLogitsWarper(values["top_k"]))
    if values["top_p"] is not None and values["top_p"] < 1:
        warpers.append(TopPLogitsWarper(float(values["top_p"])))
    if values["min_p"]:
        warpers.append(MinPLogitsWarper(float(values["min_p"])))
    return warpers
