"""The model of the driver benchmarks: a GPT-2 of random weights, without an end token."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.driver.engines.tiny_gpt2 import tiny_model, tiny_tokenizer


def bench_tokenizer() -> Any:
    return tiny_tokenizer(vocabulary=2000)


# "tiny" weighs less than the HTTP around it; "mid" (7 million parameters) more.
SIZES: dict[str, dict[str, int]] = {
    "tiny": {"width": 48, "layers": 2},
    "mid": {"width": 256, "layers": 8},
}


def bench_model(tokenizer: Any, size: str) -> Any:
    """A model whose answers end at their length, so that every server generates as many tokens."""
    model = tiny_model(tokenizer, positions=1024, **SIZES[size])
    model.generation_config.eos_token_id = None
    return model
