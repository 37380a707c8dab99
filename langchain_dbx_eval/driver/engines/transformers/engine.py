"""A causal language model of transformers as an engine. Needs torch."""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any, Literal

from langchain_dbx_eval._internal.extras import require
from langchain_dbx_eval.driver.engines.base import Delta, Generation, GenerationRequest
from langchain_dbx_eval.driver.engines.load_errors import loading
from langchain_dbx_eval.driver.engines.parameters import LENGTH_NAMES
from langchain_dbx_eval.driver.engines.transformers.encoding import PromptEncoder
from langchain_dbx_eval.driver.engines.transformers.sequence import (
    BatchLoop,
    Completion,
    Detokenizer,
)
from langchain_dbx_eval.driver.errors import RequestError
from langchain_dbx_eval.errors import ConfigurationError, DatabricksError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["DEFAULT_NEW_TOKENS", "Batching", "TransformersEngine"]

_log = logging.getLogger(__name__)

Batching = Literal["auto", "continuous", "micro"]

DEFAULT_NEW_TOKENS = 256
"""The answer's length where a request names none; transformers' pipelines have the same."""

_CPU_CACHE_TOKENS = 32_768
"""On an accelerator transformers fills the free memory; a driver node's RAM has other users."""

_NO_LIMIT = 1 << 30

_loops_to_end: list[weakref.ref[BatchLoop]] = []
_ends_lock = threading.Lock()


class TransformersEngine:
    """Serves a causal language model.

    Stop strings are exact, across tokens and in streams. Each request has its own parameters and
    its own seed, which gives the same answer alone and beside others. The loop that generates runs
    in one thread, from `start` or the first request until `close` or the end of the main thread.

    Args:
        model: A model's name or folder, or a loaded model. Code of a model's repository is never
            run, and weights are read from safetensors only.
        tokenizer: The tokenizer of a loaded model; for a name or a folder it is loaded too.
        device: Where to run, such as ``"cuda:1"``, or ``"auto"`` to spread it over all devices;
            default: the first accelerator, else the CPU.
        dtype: The type of its numbers, such as ``"bfloat16"``; default: the one it was saved in.
        batching: ``"continuous"``, ``"micro"`` for models that it cannot take, or ``"auto"``,
            which tries the first and falls back to the second.
        cache_tokens: Tokens that the cache of continuous batching holds, of all requests together.

    Raises:
        ConfigurationError: The model cannot be loaded, or not be batched as asked.
        MissingDependencyError: torch or transformers is not installed.
    """

    takes_messages = True

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
        from langchain_dbx_eval.driver.engines.transformers.sampling import (
            SAMPLING_PARAMETERS,  # imports torch
        )

        if isinstance(model, str):
            self._model, self._tokenizer = _loaded(model, device, dtype)
        elif tokenizer is None:
            msg = "A loaded model needs its tokenizer: TransformersEngine(model, tokenizer)."
            raise ConfigurationError(msg)
        else:
            self._model, self._tokenizer = model.eval(), tokenizer
        self.name: str = self._model.config.name_or_path or type(self._model).__name__
        self._parameters = SAMPLING_PARAMETERS | set(LENGTH_NAMES)
        self._encoder = PromptEncoder(self._tokenizer)
        self._end_tokens = _end_tokens(self._model, self._tokenizer)
        if cache_tokens is None and self._model.device.type == "cpu":
            cache_tokens = _CPU_CACHE_TOKENS
        self._cache_tokens = cache_tokens
        self._context = min(_context(self._model), cache_tokens or _NO_LIMIT)
        self._batching = batching
        self._lock = threading.Lock()
        self._loop: BatchLoop | None = None
        self._closed = False

    @property
    def parameters(self) -> frozenset[str]:
        """Sampling, penalties, seed and length: nothing that could load or run code."""
        return self._parameters

    def generate(self, request: GenerationRequest) -> Generation:
        """Complete one prompt.

        Raises:
            RequestError: 400, where the prompt and the answer do not fit into the context, or the
                model has no chat template.
            CallEndedError: The answer is not wanted any more.
        """
        return self.generate_batch([request])[0]

    def generate_batch(self, requests: Sequence[GenerationRequest]) -> list[Generation]:
        """Complete prompts together; see `generate`."""
        completions = [self._completion(request) for request in requests]
        loop = self._running_loop()
        for completion in completions:
            completion.whole = True
            loop.submit(completion)
        answers: list[Generation] = []
        try:
            for completion in completions:
                answers.append(_collected(completion, loop))  # noqa: PERF401 - one may raise
        finally:
            for completion in completions[len(answers) :]:
                completion.done = True
                loop.drop(completion)
        return answers

    def stream(self, request: GenerationRequest) -> Iterator[Delta]:
        """Complete one prompt, token by token; see `generate`."""
        completion = self._completion(request)
        loop = self._running_loop()
        loop.submit(completion)
        with closing(completion.pieces(loop.drop)) as pieces:
            yield from pieces

    def start(self) -> None:
        """Start the loop, and have it generate a token, so that the first request finds it warm.

        Raises:
            ConfigurationError: The model cannot be batched as asked.
        """
        self._running_loop()

    def close(self) -> None:
        """End the loop's thread. What is not answered fails."""
        with self._lock:
            loop, self._loop = self._loop, None
            self._closed = True
        if loop is not None:
            loop.stop()

    def health(self) -> str | None:
        """Whether the loop's thread runs, and goes on. Begins it, unless the engine is closed."""
        if self._closed:
            return "The model is not started."
        try:
            return self._running_loop().health()
        except ConfigurationError as error:
            return str(error)

    def __repr__(self) -> str:
        return f"TransformersEngine({self.name!r}, batching={self._batching!r})"

    def _completion(self, request: GenerationRequest) -> Completion:
        from langchain_dbx_eval.driver.engines.transformers.sampling import sampler_for

        prompt = self._encoder.encode(request)
        room = self._context - len(prompt)
        asked = next((request.params[n] for n in LENGTH_NAMES if n in request.params), None)
        limit = min(DEFAULT_NEW_TOKENS, room) if asked is None else asked
        if room < 1 or limit > room:
            wanted = f" and {limit} are asked for" if asked else ""
            message = (
                f"The maximum context length is {self._context} tokens: the prompt has "
                f"{len(prompt)}{wanted}. Shorten the prompt, or lower max_tokens."
            )
            raise RequestError(400, "CONTEXT_LENGTH_EXCEEDED", message)
        sampler = sampler_for(request.params, self._model.generation_config)
        text = Detokenizer(self._tokenizer, self._end_tokens)
        return Completion(request, prompt, limit, text, sampler)

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
                self._warm(loop)
            except Exception as error:
                loop.stop()
                if self._batching == "continuous":
                    msg = f"{self.name} cannot be batched continuously: use batching='micro'."
                    raise ConfigurationError(msg) from error
                _log.warning("%s is served in micro-batches: %s", self.name, error)
            else:
                return loop
        micro = MicroBatchLoop(self._model, self._tokenizer.pad_token_id or 0)
        self._warm(micro)
        return micro

    def _warm(self, loop: BatchLoop) -> None:
        """Generate one token: what a model cannot do shows before a client is told to come."""
        loop.start()
        probe = Completion(GenerationRequest(), [0], 1, Detokenizer(self._tokenizer))
        loop.submit(probe)
        _collected(probe, loop)


def _loaded(name: str, device: str | None, dtype: str | None) -> tuple[Any, Any]:
    import transformers

    _check_dtype(dtype or "auto")
    where = device or _best_device()
    with loading(name, "a causal language model"):
        tokenizer = transformers.AutoTokenizer.from_pretrained(name, trust_remote_code=False)
        model = transformers.AutoModelForCausalLM.from_pretrained(
            name,
            dtype=dtype or "auto",
            device_map="auto" if where == "auto" else None,
            use_safetensors=True,
            trust_remote_code=False,
        )
        return (model if where == "auto" else model.to(where)).eval(), tokenizer


def _check_dtype(name: str) -> None:
    import torch

    if name != "auto" and not isinstance(getattr(torch, name, None), torch.dtype):
        msg = f"{name!r} is no dtype of torch: use 'bfloat16', 'float16', 'float32' or 'auto'."
        raise ConfigurationError(msg)


def _best_device() -> str:
    import torch

    accelerator = torch.accelerator.current_accelerator(check_available=True)
    return "cpu" if accelerator is None else accelerator.type


def _end_tokens(model: Any, tokenizer: Any) -> frozenset[int]:
    named = model.generation_config.eos_token_id
    several = named if isinstance(named, list) else [named]
    return frozenset(token for token in [*several, tokenizer.eos_token_id] if token is not None)


def _context(model: Any) -> int:
    """The most tokens of prompt and answer together, where the model says so."""
    config = model.config.get_text_config()
    return int(getattr(config, "max_position_embeddings", None) or _NO_LIMIT)


def _collected(completion: Completion, loop: BatchLoop) -> Generation:
    text: list[str] = []
    last = Delta()
    with closing(completion.pieces(loop.drop)) as pieces:
        for piece in pieces:
            text.append(piece.text)
            last = piece
    if last.finish_reason is None:
        raise DatabricksError("The answer ended before its end.")  # pieces() ends with a reason
    counts = (last.prompt_tokens, last.completion_tokens)
    return Generation("".join(text), last.finish_reason, *counts)


def _stop_with_main_thread(loop: BatchLoop) -> None:
    """End the loop when the program ends: its thread would keep the process alive for ever.

    Neither thread is a daemon: one that is inside torch when the interpreter goes aborts the
    process (measured with torch 2.13).
    """
    with _ends_lock:
        if not _loops_to_end:
            threading.Thread(target=_end_loops, name="dbx-eval-engines-end").start()
        _loops_to_end.append(weakref.ref(loop))


def _end_loops() -> None:
    threading.main_thread().join()
    for reference in _loops_to_end:
        loop = reference()
        if loop is not None:
            loop.stop()
