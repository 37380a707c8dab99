"""The transformers engine on an accelerator: ``python benchmarks/driver_gpu.py``.

A Llama of random weights, about 1.5 billion parameters in bf16, generates through
`TransformersEngine`: tokens a second against the number of requests at once, and the time to the
first token. Beside it stand the call of the documentation's snippet, in as many threads, and the
floor that memory sets: a step reads every weight once, whatever the batch.

Needs the packages of the extra ``transformers`` and no download. ``--shape tiny --device cpu`` runs
the same on any machine, to see that it works. Prints a Markdown table, and JSON after it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from transformers import LlamaConfig, LlamaForCausalLM, pipeline

from langchain_dbx_eval.driver import GenerationRequest
from langchain_dbx_eval.driver.engines.transformers.engine import TransformersEngine
from tests.driver.engines.tiny_gpt2 import tiny_tokenizer

SHAPES: dict[str, dict[str, int]] = {
    "1.5b": {
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 22,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 32000,
    },
    "tiny": {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 2000,
    },
}
CONTEXT = 2048


@dataclass(frozen=True)
class Row:
    """What was measured with so many requests at once."""

    requests: int
    tokens_per_second: float
    step_ms: float
    of_floor: float
    first_token_ms: float
    snippet_tokens_per_second: float | None


class Bench:
    """One model on one device, and how long its answers are."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.device = torch.device(options.device)
        self.tokens: int = options.tokens
        self.tokenizer = tiny_tokenizer(vocabulary=2000)
        self.tokenizer.eos_token = None
        config = LlamaConfig(
            **SHAPES[options.shape], max_position_embeddings=CONTEXT, tie_word_embeddings=False
        )
        torch.manual_seed(0)
        with self.device:
            model = LlamaForCausalLM._from_config(config, dtype=getattr(torch, options.dtype))
        self.model: Any = model.to(self.device).eval()
        # Every answer is as long as it may be, by the engine and by the snippet.
        self.model.generation_config.eos_token_id = None
        self.prompt = " ".join(f"question {number}" for number in range(options.prompt_words))

    def wait(self) -> None:
        """Let the device finish: its work is not done when a call returns."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def seconds(self, work: Callable[[], Any], times: int = 3) -> float:
        """The shortest of some runs, after one that warms up."""
        work()
        found = []
        for _ in range(times):
            self.wait()
            begun = time.perf_counter()
            work()
            self.wait()
            found.append(time.perf_counter() - begun)
        return min(found)

    def bandwidth(self) -> float:
        """Bytes a second that this device reads and writes, measured by a copy."""
        size = 2**30 if self.device.type == "cuda" else 2**26
        source = torch.ones(size, dtype=torch.uint8, device=self.device)
        target = torch.empty_like(source)
        return 2 * size / self.seconds(lambda: target.copy_(source), times=10)

    def weights(self) -> int:
        """Bytes that a step reads: all weights but the table of embeddings, a row a token."""
        table = self.model.get_input_embeddings().weight
        every = sum(weight.numel() * weight.element_size() for weight in self.model.parameters())
        return every - table.numel() * table.element_size()


def request(bench: Bench, number: int) -> GenerationRequest:
    params = {"max_tokens": bench.tokens, "temperature": 0}
    return GenerationRequest(f"{number} {bench.prompt}", params=params)


def first_token(bench: Bench, engine: TransformersEngine, others: int) -> float:
    """Seconds to the first token of a stream that begins beside others that run."""
    running = [engine.stream(request(bench, number)) for number in range(others)]
    for stream in running:
        next(stream)
    begun = time.perf_counter()
    mine = engine.stream(request(bench, others))
    next(mine)
    seconds = time.perf_counter() - begun
    for stream in (*running, mine):
        stream.close()  # type: ignore[attr-defined]
    return seconds


def snippet(bench: Bench, count: int) -> float:
    """Tokens a second of the snippet's own call, as its server makes it: in a thread a request."""
    generate = pipeline(
        "text-generation", model=bench.model, tokenizer=bench.tokenizer, device=bench.device
    )

    def ask(number: int) -> None:
        generate(f"{number} {bench.prompt}", max_new_tokens=bench.tokens, do_sample=False)

    with ThreadPoolExecutor(count) as pool:
        seconds = bench.seconds(lambda: list(pool.map(ask, range(count))), times=1)
    return count * bench.tokens / seconds


def measure(bench: Bench, options: argparse.Namespace, floor: float) -> list[Row]:
    # Before the engine: while that runs, it has the model's attention switched to its own.
    beside = {count: snippet(bench, count) for count in options.batches if count <= options.snippet}
    engine = TransformersEngine(bench.model, bench.tokenizer)
    engine.start()
    rows = []
    try:
        for count in options.batches:
            asked = [request(bench, number) for number in range(count)]
            seconds = bench.seconds(lambda asked=asked: engine.generate_batch(asked))  # type: ignore[misc]
            step = seconds / bench.tokens
            waits = [first_token(bench, engine, count - 1) for _ in range(3)]
            rows.append(
                Row(
                    count,
                    count * bench.tokens / seconds,
                    step * 1000,
                    step / floor,
                    min(waits) * 1000,
                    beside.get(count),
                )
            )
            print(f"{count} at once: {rows[-1].tokens_per_second:.0f} tokens/s", file=sys.stderr)
    finally:
        engine.close()
    return rows


def show(rows: list[Row], facts: dict[str, Any]) -> None:
    print("| requests at once | tokens/s | step, ms | of the floor | first token, ms | snippet |")
    print("|---|---|---|---|---|---|")
    for row in rows:
        other = row.snippet_tokens_per_second
        beside = "" if other is None else f"{other:.0f} tokens/s"
        print(
            f"| {row.requests} | {row.tokens_per_second:.0f} | {row.step_ms:.2f} | "
            f"{row.of_floor:.1f} | {row.first_token_ms:.0f} | {beside} |"
        )
    print()
    print(json.dumps({**facts, "rows": [asdict(row) for row in rows]}))


def options_of(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--shape", choices=SHAPES, default="1.5b")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float16", "float32"])
    parser.add_argument("--tokens", type=int, default=128, help="of each answer")
    parser.add_argument("--prompt-words", type=int, default=64)
    parser.add_argument("--snippet", type=int, default=16, help="its most requests at once")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32, 64])
    return parser.parse_args(words)


def main() -> None:
    options = options_of()
    bench = Bench(options)
    bandwidth, weights = bench.bandwidth(), bench.weights()
    floor = weights / bandwidth
    gpu = bench.device.type == "cuda"
    facts = {
        "device": torch.cuda.get_device_name(bench.device) if gpu else bench.device.type,
        "torch": torch.__version__,
        "parameters": sum(weight.numel() for weight in bench.model.parameters()),
        "dtype": options.dtype,
        "bandwidth_gb_per_s": bandwidth / 1e9,
        "step_floor_ms": floor * 1000,
        "tokens": bench.tokens,
    }
    show(measure(bench, options, floor), facts)


if __name__ == "__main__":
    main()
