"""A causal language model of transformers as an engine. Needs torch."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

from langchain_dbx_eval._internal.imports import require
from langchain_dbx_eval._internal.log import get_logger
from langchain_dbx_eval.driver.engines.base import Delta, Generation, GenerationRequest, collect
from langchain_dbx_eval.driver.engines.load_errors import convert_load_errors
from langchain_dbx_eval.driver.engines.parameters import LENGTH_NAMES, PARAMETERS
from langchain_dbx_eval.driver.engines.transformers.sequence import TokenSequence
from langchain_dbx_eval.driver.engines.transformers.tokenization import Detokenizer, PromptEncoder
from langchain_dbx_eval.driver.errors import RequestError
from langchain_dbx_eval.errors import ConfigurationError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from langchain_dbx_eval.driver.engines.transformers.continuous import ContinuousLoop
    from langchain_dbx_eval.driver.engines.transformers.micro_batch import MicroBatchLoop

    BatchLoop = ContinuousLoop | MicroBatchLoop

__all__ = ["DEFAULT_NEW_TOKENS", "Batching", "TransformersEngine"]

_log = get_logger(__name__)

Batching = Literal["auto", "continuous", "micro"]

DEFAULT_NEW_TOKENS = 256
"""The maximum length of a completion if the request has none; transformers' pipelines have the
same."""

_CPU_CACHE_TOKENS = 32_768
"""On an accelerator, transformers uses the free memory; other processes use the RAM of a node."""

_UNLIMITED = 1 << 30

_loops_to_stop: list[weakref.ref[BatchLoop]] = []
_loops_lock = threading.Lock()


class TransformersEngine:
    """Serve a causal language model.

    Stop strings are exact, across tokens and in streams. Each request has its own parameters and
    its own seed; a seed results in the same completion alone and in a batch. One thread generates,
    from `start` or the first request until `close` or the end of the main thread.

    Args:
        model: The name or folder of a model, or a loaded model. Code in a model's repository is
            never run, and weights are read from safetensors only.
        tokenizer: The tokenizer of a loaded model; for a name or folder it is loaded too.
        device: The torch device, such as ``"cuda:1"``, or ``"auto"`` to distribute the model over
            all devices; default: the first accelerator, else the CPU.
        dtype: The torch dtype, such as ``"bfloat16"``; default: the dtype of the saved weights.
        batching: ``"continuous"``, ``"micro"`` for models without continuous batching, or
            ``"auto"``, which tries the first and falls back to the second.
        cache_tokens: The capacity in tokens of the cache of continuous batching, for all requests
            together; default: 32,768 on a CPU, the free memory on an accelerator.

    Raises:
        ConfigurationError: The model cannot be loaded.
        MissingDependencyError: torch or transformers is not installed.
    """

    takes_messages = True
    parameters = frozenset(PARAMETERS)
    """Sampling, penalties, seed and length: nothing that could load or run code."""

    def __init__(
        self,
        model: str | PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase | None = None,
        *,
        device: str | None = None,
        dtype: str | None = None,
        batching: Batching = "auto",
        cache_tokens: int | None = None,
    ) -> None:
        require("torch", extra="transformers")
        require("transformers", extra="transformers")
        if isinstance(model, str):
            self._model, self._tokenizer = _load(model, device, dtype)
        elif tokenizer is None:
            msg = "A loaded model needs its tokenizer: TransformersEngine(model, tokenizer)."
            raise ConfigurationError(msg)
        else:
            self._model, self._tokenizer = model.eval(), tokenizer
        self.name: str = self._model.config.name_or_path or type(self._model).__name__
        self._encoder = PromptEncoder(self._tokenizer)
        self._end_tokens = _end_tokens(self._model, self._tokenizer)
        if cache_tokens is None and self._model.device.type == "cpu":
            cache_tokens = _CPU_CACHE_TOKENS
        self._cache_tokens = cache_tokens
        self._context_length = min(_context_length(self._model), cache_tokens or _UNLIMITED)
        self._batching = batching
        self._lock = threading.Lock()
        self._loop: BatchLoop | None = None
        self._closed = False

    def generate(self, request: GenerationRequest) -> Generation:
        """Complete one prompt.

        Raises:
            RequestError: 400; prompt and completion exceed the context length, or the model has no
                chat template.
            RequestEndedError: The deadline passed, or the client disconnected.
        """
        return self.generate_batch([request])[0]

    def generate_batch(self, requests: Sequence[GenerationRequest]) -> list[Generation]:
        """Complete prompts together; see `generate`."""
        sequences = [self._new_sequence(request) for request in requests]
        loop = self._running_loop()
        for sequence in sequences:
            sequence.deliver_at_end = True
            loop.submit(sequence)
        generations: list[Generation] = []
        try:
            for sequence in sequences:
                generations.append(collect(sequence.deltas(loop.drop)))  # noqa: PERF401 - one may raise
        finally:
            for sequence in sequences[len(generations) :]:
                sequence.done = True
                loop.drop(sequence)
        return generations

    def stream(self, request: GenerationRequest) -> Iterator[Delta]:
        """Complete one prompt, and yield its text as it is generated; see `generate`."""
        sequence = self._new_sequence(request)
        loop = self._running_loop()
        loop.submit(sequence)
        yield from sequence.deltas(loop.drop)

    def start(self) -> None:
        """Start the loop, and generate one token to warm it up.

        Raises:
            ConfigurationError: The model does not support the batching.
        """
        self._running_loop()

    def close(self) -> None:
        """End the thread of the loop. Unfinished requests fail."""
        with self._lock:
            loop, self._loop = self._loop, None
            self._closed = True
        if loop is not None:
            loop.stop()

    def health(self) -> str | None:
        """Return why the loop does not work. Starts it, unless the engine is closed."""
        if self._closed:
            return "The model is not started."
        try:
            return self._running_loop().health()
        except ConfigurationError as error:
            return str(error)

    def __repr__(self) -> str:
        return f"TransformersEngine({self.name!r}, batching={self._batching!r})"

    def _new_sequence(self, request: GenerationRequest) -> TokenSequence:
        # imports torch
        from langchain_dbx_eval.driver.engines.transformers.sampling import create_sampler

        prompt = self._encoder.encode(request)
        available = self._context_length - len(prompt)
        requested = next((request.params[n] for n in LENGTH_NAMES if n in request.params), None)
        limit = min(DEFAULT_NEW_TOKENS, available) if requested is None else requested
        if available < 1 or limit > available:
            completion = f" and {limit} are requested for the completion" if requested else ""
            message = (
                f"The maximum context length is {self._context_length} tokens: the prompt has "
                f"{len(prompt)}{completion}. Shorten the prompt, or lower max_tokens."
            )
            raise RequestError(400, "CONTEXT_LENGTH_EXCEEDED", message)
        sampler = create_sampler(request.params, self._model.generation_config)
        detokenizer = Detokenizer(self._tokenizer, self._end_tokens)
        return TokenSequence(request, prompt, limit, detokenizer, sampler)

    def _running_loop(self) -> BatchLoop:
        with self._lock:
            if self._loop is None:
                self._loop = self._new_loop()
                _stop_with_main_thread(self._loop)
                self._closed = False
            return self._loop

    def _new_loop(self) -> BatchLoop:
        from langchain_dbx_eval.driver.engines.transformers.continuous import ContinuousLoop
        from langchain_dbx_eval.driver.engines.transformers.micro_batch import MicroBatchLoop

        if self._batching != "micro":
            loop = ContinuousLoop(self._model, self._cache_tokens)
            try:
                self._warm_up(loop)
            except Exception as error:
                loop.stop()
                if self._batching == "continuous":
                    msg = f"{self.name} does not support continuous batching: use batching='micro'."
                    raise ConfigurationError(msg) from error
                _log.warning("%s is served in micro-batches: %s", self.name, error)
            else:
                return loop
        micro = MicroBatchLoop(self._model, self._tokenizer.pad_token_id or 0)
        self._warm_up(micro)
        return micro

    def _warm_up(self, loop: BatchLoop) -> None:
        """Generate one token, so that an unsupported model fails before the first request."""
        loop.start()
        probe = TokenSequence(GenerationRequest(), [0], 1, Detokenizer(self._tokenizer))
        loop.submit(probe)
        collect(probe.deltas(loop.drop))


def _load(name: str, device: str | None, dtype: str | None) -> tuple[Any, Any]:
    import torch
    import transformers

    if dtype not in (None, "auto") and not isinstance(getattr(torch, dtype, None), torch.dtype):
        msg = f"{dtype!r} is not a torch dtype: use 'bfloat16', 'float16', 'float32' or 'auto'."
        raise ConfigurationError(msg)
    if device is None:
        device = torch.accelerator.current_accelerator(check_available=True) or "cpu"
    with convert_load_errors(name, "a causal language model"):
        tokenizer = transformers.AutoTokenizer.from_pretrained(name, trust_remote_code=False)
        model = transformers.AutoModelForCausalLM.from_pretrained(
            name,
            dtype=dtype or "auto",
            device_map="auto" if device == "auto" else None,
            use_safetensors=True,
            trust_remote_code=False,
        )
        return (model if device == "auto" else model.to(device)).eval(), tokenizer


def _end_tokens(model: Any, tokenizer: Any) -> frozenset[int]:
    configured = model.generation_config.eos_token_id
    tokens = configured if isinstance(configured, list) else [configured]
    return frozenset(token for token in [*tokens, tokenizer.eos_token_id] if token is not None)


def _context_length(model: Any) -> int:
    """Maximum tokens of prompt and completion together, if the model's config has it."""
    config = model.config.get_text_config()
    return int(getattr(config, "max_position_embeddings", None) or _UNLIMITED)


def _stop_with_main_thread(loop: BatchLoop) -> None:
    """Stop the loop when the main thread ends: its thread would keep the process alive forever.

    Neither thread is a daemon: a daemon thread inside torch at interpreter shutdown aborts the
    process (measured with torch 2.13).
    """
    with _loops_lock:
        if not _loops_to_stop:
            threading.Thread(target=_stop_loops, name="dbx-eval-engines-end").start()
        _loops_to_stop.append(weakref.ref(loop))


def _stop_loops() -> None:
    threading.main_thread().join()
    for reference in _loops_to_stop:
        loop = reference()
        if loop is not None:
            loop.stop()
