"""The transformers engine on an accelerator: ``python -m benchmarks.driver.gpu``.

A Llama with random weights, about 1.5 billion parameters in bf16, generates with
`TransformersEngine`. Measured are tokens/s by number of concurrent requests, and the time to the
first token. For comparison: the call of the documentation's server in as many threads, and the
lower bound of memory bandwidth, since each step reads all weights once, whatever the batch size.

Requires the packages of the extra ``transformers``, and no download. ``--shape tiny --device cpu``
tests the benchmark on any machine. Prints a Markdown table and one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

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
    """The measurements with one number of concurrent requests.

    Attributes:
        requests: The number of concurrent requests.
        tokens_per_second: Generated tokens per second, all requests together.
        step_ms: Duration of a step.
        ratio_to_bound: Duration of a step divided by the lower bound of memory bandwidth.
        first_token_ms: Time to the first token of a request that starts beside the others.
        documented_tokens_per_second: Tokens per second of the documentation's call.
    """

    requests: int
    tokens_per_second: float
    step_ms: float
    ratio_to_bound: float
    first_token_ms: float
    documented_tokens_per_second: float | None


class Bench:
    """A model on a device, and the length of its answers."""

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
        # Every answer has the maximum length, with the engine and with the documented call.
        self.model.generation_config.eos_token_id = None
        self.prompt = " ".join(f"question {number}" for number in range(options.prompt_words))

    def synchronize(self) -> None:
        """Wait for the device, whose work may continue after a call returns."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def shortest(self, work: Callable[[], Any], times: int = 3) -> float:
        """Return the shortest duration of several runs after a warm-up, in seconds."""
        work()
        durations = []
        for _ in range(times):
            self.synchronize()
            start = time.perf_counter()
            work()
            self.synchronize()
            durations.append(time.perf_counter() - start)
        return min(durations)

    def bandwidth(self) -> float:
        """Return the bytes per second that the device reads and writes, measured with a copy."""
        size = 2**30 if self.device.type == "cuda" else 2**26
        source = torch.ones(size, dtype=torch.uint8, device=self.device)
        target = torch.empty_like(source)
        return 2 * size / self.shortest(lambda: target.copy_(source), times=10)

    def bytes_per_step(self) -> int:
        """Return the bytes of all weights except the embedding table: a step reads them once."""
        table = self.model.get_input_embeddings().weight
        total = sum(weight.numel() * weight.element_size() for weight in self.model.parameters())
        return total - table.numel() * table.element_size()


def request_of(bench: Bench, number: int) -> GenerationRequest:
    params = {"max_tokens": bench.tokens, "temperature": 0}
    return GenerationRequest(f"{number} {bench.prompt}", params=params)


def first_token(bench: Bench, engine: TransformersEngine, others: int) -> float:
    """Return the seconds to the first token of a stream that starts beside running ones."""
    running = [engine.stream(request_of(bench, number)) for number in range(others)]
    for one in running:
        next(one)
    start = time.perf_counter()
    stream = engine.stream(request_of(bench, others))
    next(stream)
    seconds = time.perf_counter() - start
    for one in (*running, stream):
        one.close()  # type: ignore[attr-defined]
    return seconds


def documented_call(bench: Bench, count: int) -> float:
    """Return the tokens/s of the documentation's call, in one thread per request."""
    generate = pipeline(
        "text-generation", model=bench.model, tokenizer=bench.tokenizer, device=bench.device
    )

    def call(number: int) -> None:
        generate(f"{number} {bench.prompt}", max_new_tokens=bench.tokens, do_sample=False)

    with ThreadPoolExecutor(count) as pool:
        seconds = bench.shortest(lambda: list(pool.map(call, range(count))), times=1)
    return count * bench.tokens / seconds


def measure(bench: Bench, options: argparse.Namespace, bound: float) -> list[Row]:
    # Before the engine starts, because it replaces the attention of the model.
    documented = {
        count: documented_call(bench, count)
        for count in options.batches
        if count <= options.documented
    }
    engine = TransformersEngine(bench.model, bench.tokenizer)
    engine.start()
    rows = []
    try:
        for count in options.batches:
            batch = [request_of(bench, number) for number in range(count)]
            seconds = bench.shortest(lambda batch=batch: engine.generate_batch(batch))  # type: ignore[misc]
            step = seconds / bench.tokens
            delays = [first_token(bench, engine, count - 1) for _ in range(3)]
            rows.append(
                Row(
                    count,
                    count * bench.tokens / seconds,
                    step * 1000,
                    step / bound,
                    min(delays) * 1000,
                    documented.get(count),
                )
            )
            print(f"{count} concurrent: {rows[-1].tokens_per_second:.0f} tokens/s", file=sys.stderr)
    finally:
        engine.close()
    return rows


def print_table(rows: list[Row], facts: dict[str, Any]) -> None:
    print("| concurrent | tokens/s | step, ms | of the bound | first token, ms | documented |")
    print("|---|---|---|---|---|---|")
    for row in rows:
        documented = row.documented_tokens_per_second
        cell = "" if documented is None else f"{documented:.0f} tokens/s"
        print(
            f"| {row.requests} | {row.tokens_per_second:.0f} | {row.step_ms:.2f} | "
            f"{row.ratio_to_bound:.1f} | {row.first_token_ms:.0f} | {cell} |"
        )
    print()
    print(json.dumps({**facts, "rows": [asdict(row) for row in rows]}))


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--shape", choices=SHAPES, default="1.5b")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float16", "float32"])
    parser.add_argument("--tokens", type=int, default=128, help="per answer")
    parser.add_argument("--prompt-words", type=int, default=64)
    parser.add_argument(
        "--documented", type=int, default=16, help="maximum concurrency of the documented call"
    )
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32, 64])
    return parser.parse_args()


def main() -> None:
    options = parse_options()
    bench = Bench(options)
    bandwidth = bench.bandwidth()
    bound = bench.bytes_per_step() / bandwidth
    gpu = bench.device.type == "cuda"
    facts = {
        "device": torch.cuda.get_device_name(bench.device) if gpu else bench.device.type,
        "torch": torch.__version__,
        "parameters": sum(weight.numel() for weight in bench.model.parameters()),
        "dtype": options.dtype,
        "bandwidth_gb_per_s": bandwidth / 1e9,
        "step_bound_ms": bound * 1000,
        "tokens": bench.tokens,
    }
    print_table(measure(bench, options, bound), facts)


if __name__ == "__main__":
    main()
