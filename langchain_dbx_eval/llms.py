"""`Databricks`: a text model behind a serving endpoint or a driver-proxy app."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import LangSmithParams
from langchain_core.language_models.llms import BaseLLM
from langchain_core.outputs import Generation, GenerationChunk, LLMResult
from pydantic import ConfigDict, Field, PrivateAttr, model_validator
from typing_extensions import Self, override

from langchain_dbx_eval._internal.fan_out import fan_out, fan_out_async
from langchain_dbx_eval.client.connection import DatabricksConnection
from langchain_dbx_eval.client.targets import Gateway
from langchain_dbx_eval.errors import (
    ConfigurationError,
    ConnectionFailedError,
    InvalidRequestError,
    RequestTimeoutError,
)
from langchain_dbx_eval.wire.mlflow import scoring_server as mlflow_models
from langchain_dbx_eval.wire.openai import chat, completions
from langchain_dbx_eval.wire.stream_reader import StreamReader
from langchain_dbx_eval.wire.validate import wrong_shape

__all__ = ["Databricks"]

_COMPLETIONS, _CHAT, _CUSTOM, _APP = "llm/v1/completions", "llm/v1/chat", "custom", "app"
# A custom endpoint takes 16 MB (Databricks, "Model Serving limits"): with room to spare.
_MOST_BYTES = 8_000_000
_MOST_RECORDS = 256


@dataclass(frozen=True)
class _Exchange:
    """One request, and how its answer is read: the generations of each of its prompts."""

    body: dict[str, Any]
    read: Callable[[Any], list[list[Generation]]]
    prompts: int = 1


class Databricks(DatabricksConnection, BaseLLM):
    """A text model on Databricks as a LangChain LLM.

    Two targets: a model serving endpoint (`endpoint_name`), and an HTTP app on a cluster's driver
    node (`cluster_driver_port`), such as `langchain_dbx_eval.driver.DriverServer`.

    What is sent follows the endpoint's task: ``{"prompt", …}`` to a completions endpoint and to a
    driver app, ``{"messages", …}`` to a chat endpoint, and one MLflow record a prompt to a custom
    model. Many prompts are one request where the endpoint takes them so, and concurrent requests
    where it does not.

    Example:
        ```python
        llm = Databricks(endpoint_name="dolly")
        llm.invoke("How are you?", stop=["."])
        ```

    Raises:
        ConfigurationError: Neither or both targets are given, or an argument is not usable.
        DatabricksError: A call failed; `langchain_dbx_eval.errors` has the tree.
    """

    model_config = ConfigDict(extra="forbid", populate_by_name=True, protected_namespaces=())

    endpoint_name: str | None = None
    """The serving endpoint to call."""

    databricks_uri: str = "databricks"
    """``databricks``, or ``databricks://<profile>`` to log in with a profile."""

    task: str | None = None
    """The endpoint's task (``llm/v1/completions``, ``llm/v1/chat``; anything else: a custom MLflow
    model); default: the endpoint is asked, once, before the first call."""

    temperature: float | None = None
    """Randomness of the answer; sent only when given, like the next three."""

    max_tokens: int | None = None
    """The most tokens to generate."""

    n: int = Field(default=1, ge=1)
    """How many completions to ask for each prompt."""

    stop: list[str] | None = None
    """The answer ends before the first of these; a call's own `stop` wins."""

    model_kwargs: dict[str, Any] = Field(default_factory=dict)
    """Further parameters of each request."""

    extra_params: dict[str, Any] = Field(default_factory=dict)
    """The older name of `model_kwargs`, which wins where both name a parameter."""

    _one_prompt_a_request: bool = PrivateAttr(default=False)

    @model_validator(mode="after")
    def _refuse_a_fixed_prompt(self) -> Self:
        if "prompt" in {*self.model_kwargs, *self.extra_params}:
            msg = "model_kwargs= has a 'prompt', which would replace each prompt. Leave it out."
            raise ConfigurationError(msg)
        return self

    def __call__(self, prompt: str, stop: list[str] | None = None, **kwargs: Any) -> str:
        """The documented short form of `invoke`, which LangChain itself has dropped."""
        return self.invoke(prompt, stop=stop, **kwargs)

    @property
    def _llm_type(self) -> str:
        return "databricks"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        own = {"task": self.task, "n": self.n}
        return {**self._identity(), **own, **self._params({})}

    @override
    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop, **kwargs)
        params["ls_provider"] = "databricks"
        params["ls_model_name"] = self.endpoint_name or str(self._called)
        return params

    @classmethod
    @override
    def _name_of_further_parameters(cls) -> str:
        return "model_kwargs"

    @override
    def _model(self) -> str | None:
        return self.endpoint_name

    @override
    def _login_uri(self) -> str | None:
        return self.databricks_uri

    @override
    def _route(self) -> str:
        return "chat/completions" if self.task == _CHAT else "completions"

    @override
    def _generate(
        self,
        prompts: list[str],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> LLMResult:
        bodies = self._bodies(prompts, stop, kwargs)
        return _result(fan_out(self._exchange, self._exchanges(bodies, self._kind())))

    @override
    async def _agenerate(
        self,
        prompts: list[str],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> LLMResult:
        bodies = self._bodies(prompts, stop, kwargs)
        exchanges = self._exchanges(bodies, await self._akind())
        return _result(await fan_out_async(self._aexchange, exchanges))

    @override
    def _stream(
        self,
        prompt: str,
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[GenerationChunk]:
        for chunk in self._streamed(prompt, stop, kwargs):
            if run_manager:
                run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk

    def _streamed(
        self, prompt: str, stop: list[str] | None, call: dict[str, Any]
    ) -> Iterator[GenerationChunk]:
        kind = self._kind()
        if not self._can_stream(kind):
            [generation, *_] = self._generate([prompt], stop, **call).generations[0]
            yield _chunk_of(generation)
            return
        [body] = self._bodies([prompt], stop, call)
        reader = StreamReader(completions.CompletionStream(), _whole)
        try:
            for piece in self._open_stream(self._stream_body(body, kind)):
                yield from self._chunks(reader, piece)
        except (ConnectionFailedError, RequestTimeoutError) as error:
            raise reader.lost(error) from error

    @override
    async def _astream(
        self,
        prompt: str,
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[GenerationChunk]:
        async for chunk in self._astreamed(prompt, stop, kwargs):
            if run_manager:
                await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk

    async def _astreamed(
        self, prompt: str, stop: list[str] | None, call: dict[str, Any]
    ) -> AsyncIterator[GenerationChunk]:
        kind = await self._akind()
        if not self._can_stream(kind):
            [generation, *_] = (await self._agenerate([prompt], stop, **call)).generations[0]
            yield _chunk_of(generation)
            return
        [body] = self._bodies([prompt], stop, call)
        reader = StreamReader(completions.CompletionStream(), _whole)
        try:
            async for piece in self._aopen_stream(self._stream_body(body, kind)):
                for chunk in self._chunks(reader, piece):
                    yield chunk
        except (ConnectionFailedError, RequestTimeoutError) as error:
            raise reader.lost(error) from error

    def _kind(self) -> str:
        """How the target is spoken to."""
        if self._is_app:
            return _APP
        if isinstance(self._called, Gateway):
            return _CHAT if self.task == _CHAT else _COMPLETIONS
        task = self.task or self._described().get("task")
        return task if task in {_COMPLETIONS, _CHAT} else _CUSTOM

    async def _akind(self) -> str:
        known = self.task or self._is_app or self._description is not None
        known = known or isinstance(self._called, Gateway)
        return self._kind() if known else await asyncio.to_thread(self._kind)

    def _can_stream(self, kind: str) -> bool:
        # A hook is promised the whole answer; a custom model's scoring server does not stream.
        return kind != _CUSTOM and self.transform_output_fn is None and self.n == 1

    def _body(self, prompt: str, stop: list[str] | None, call: dict[str, Any]) -> dict[str, Any]:
        params = self._params(call if stop is None else {**call, "stop": stop})
        if not params.get("stop"):
            params.pop("stop", None)
        return {"prompt": prompt, **params}

    def _params(self, call: dict[str, Any]) -> dict[str, Any]:
        own = {
            "stop": self.stop,
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
            "n": self.n if self.n != 1 else None,
        }
        given = {name: value for name, value in own.items() if value is not None}
        return {**given, **self.extra_params, **self.model_kwargs, **call}

    def _stream_body(self, body: dict[str, Any], kind: str) -> dict[str, Any]:
        if kind == _CHAT:
            body = _as_chat(body)
        if kind == _APP and not self.path.rstrip("/").endswith("completions"):
            # An app with parameters of its own would refuse one that it does not know. It sees
            # by the request's `Accept` header that it may stream.
            return body
        return {**body, "stream": True}

    def _bodies(
        self, prompts: Sequence[str], stop: list[str] | None, call: dict[str, Any]
    ) -> list[dict[str, Any]]:
        return [self._before(self._body(prompt, stop, call)) for prompt in prompts]

    def _exchanges(self, bodies: Sequence[dict[str, Any]], kind: str) -> list[_Exchange]:
        if kind == _CUSTOM:
            return [self._of_custom_model(records) for records in _in_parts(bodies)]
        if kind == _APP:
            return [_Exchange(body, lambda answer: [[self._read_text(answer)]]) for body in bodies]
        if kind == _CHAT:
            return [_Exchange(_as_chat(body), self._read_chat) for body in bodies]
        if self._takes_many(bodies):
            together = {**bodies[0], "prompt": [body["prompt"] for body in bodies]}
            return [_Exchange(together, self._reader_of(len(bodies)), len(bodies))]
        return [_Exchange(body, self._reader_of(1)) for body in bodies]

    def _of_custom_model(self, records: Sequence[dict[str, Any]]) -> _Exchange:
        def read(answer: Any) -> list[list[Generation]]:
            with self._decoding():
                predictions = mlflow_models.decode_predictions(answer, len(records))
            return [[self._read_text(prediction)] for prediction in predictions]

        return _Exchange(mlflow_models.encode_records(records), read, len(records))

    def _takes_many(self, bodies: Sequence[dict[str, Any]]) -> bool:
        # A hook sees one prompt, and reads one answer.
        hooked = self.transform_input_fn is not None or self.transform_output_fn is not None
        return len(bodies) > 1 and not hooked and not self._one_prompt_a_request

    def _reader_of(self, prompts: int) -> Callable[[Any], list[list[Generation]]]:
        def read(answer: Any) -> list[list[Generation]]:
            if self.transform_output_fn is not None:
                return [[self._read_text(answer)]]
            with self._decoding():
                return completions.decode(answer, prompts)

        return read

    def _exchange(self, exchange: _Exchange) -> tuple[Any, list[list[Generation]]]:
        try:
            answer = self._post(exchange.body)
        except InvalidRequestError:
            parts = self._one_by_one(exchange)
            if not parts:
                raise
            return _together(fan_out(self._exchange, parts))
        return answer, exchange.read(answer)

    async def _aexchange(self, exchange: _Exchange) -> tuple[Any, list[list[Generation]]]:
        try:
            answer = await self._apost(exchange.body)
        except InvalidRequestError:
            parts = self._one_by_one(exchange)
            if not parts:
                raise
            return _together(await fan_out_async(self._aexchange, parts))
        return answer, exchange.read(answer)

    def _one_by_one(self, exchange: _Exchange) -> list[_Exchange]:
        """The exchange for each prompt alone, where an endpoint refused an array of them."""
        prompts = exchange.body.get("prompt")
        if not isinstance(prompts, list):
            return []
        self._one_prompt_a_request = True
        read = self._reader_of(1)
        return [_Exchange({**exchange.body, "prompt": prompt}, read) for prompt in prompts]

    def _read_chat(self, answer: Any) -> list[list[Generation]]:
        if self.transform_output_fn is not None:
            return [[self._read_text(answer)]]
        with self._decoding():
            choices = chat.decode(answer).generations
        return [[Generation(text=c.text, generation_info=c.generation_info) for c in choices]]

    def _read_text(self, answer: Any) -> Generation:
        hooked = self.transform_output_fn is not None
        text = self._after(answer)
        with self._decoding(hooked=hooked):
            if not hooked:
                return Generation(text=mlflow_models.text_of(answer))
            if not isinstance(text, str):
                raise wrong_shape("a text", text)
            return Generation(text=text)

    def _chunks(self, reader: StreamReader[GenerationChunk], piece: bytes) -> list[GenerationChunk]:
        with self._decoding():
            return reader.feed(piece)


def _whole(answer: Any) -> GenerationChunk:
    return GenerationChunk(text=mlflow_models.text_of(answer))


def _as_chat(body: dict[str, Any]) -> dict[str, Any]:
    if "prompt" not in body:
        return body
    others = {name: value for name, value in body.items() if name != "prompt"}
    return {"messages": [{"role": "user", "content": body["prompt"]}], **others}


def _in_parts(bodies: Sequence[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    part: list[dict[str, Any]] = []
    size = 0
    for body in bodies:
        length = len(str(body.get("prompt", ""))) * 4 if len(bodies) > 1 else 0
        if part and (size + length > _MOST_BYTES or len(part) == _MOST_RECORDS):
            yield part
            part, size = [], 0
        part.append(body)
        size += length
    if part:
        yield part


def _together(
    answers: Sequence[tuple[Any, list[list[Generation]]]],
) -> tuple[Any, list[list[Generation]]]:
    usage = _sum_of_usage([answer for answer, _ in answers])
    model = next((a.get("model") for a, _ in answers if isinstance(a, dict)), None)
    return {"usage": usage, "model": model}, [g for _, read in answers for g in read]


def _result(answers: Sequence[tuple[Any, list[list[Generation]]]]) -> LLMResult:
    answer, generations = _together(answers)
    llm_output: dict[str, Any] = {}
    if answer["usage"]:
        llm_output["token_usage"] = answer["usage"]
    if answer["model"]:
        llm_output["model_name"] = answer["model"]
    return LLMResult(generations=generations, llm_output=llm_output or None)


def _sum_of_usage(answers: Sequence[Any]) -> dict[str, int]:
    total: dict[str, int] = {}
    for answer in answers:
        for name, count in completions.token_usage(answer).items():
            total[name] = total.get(name, 0) + count
    return total


def _chunk_of(generation: Generation) -> GenerationChunk:
    return GenerationChunk(text=generation.text, generation_info=generation.generation_info)
