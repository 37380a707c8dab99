"""The model of the driver benchmarks: a GPT-2 with random weights and without an end token."""

from __future__ import annotations

from typing import Any

from tests.driver.engines.tiny_gpt2 import tiny_model, tiny_tokenizer


def bench_tokenizer() -> Any:
    """Return the tokenizer."""
    return tiny_tokenizer(vocabulary=2000)


# A step of "tiny" takes less time than HTTP, a step of "mid" (7 million parameters) more.
SIZES: dict[str, dict[str, int]] = {
    "tiny": {"width": 48, "layers": 2},
    "mid": {"width": 256, "layers": 8},
}


def bench_model(tokenizer: Any, size: str) -> Any:
    """Return a model that always generates the maximum number of tokens, on every server."""
    model = tiny_model(tokenizer, positions=1024, **SIZES[size])
    model.generation_config.eos_token_id = None
    return model
