"""`Databricks`: a text model behind a serving endpoint or a driver-proxy app."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import yaml
from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import LangSmithParams
from langchain_core.language_models.llms import BaseLLM
from langchain_core.outputs import Generation, GenerationChunk, LLMResult
from pydantic import ConfigDict, Field, PrivateAttr, model_validator
from typing_extensions import Self, Unpack, override

from langchain_dbx_eval.client import flow
from langchain_dbx_eval.client.arguments import ModelArguments
from langchain_dbx_eval.client.connection import DatabricksConnection
from langchain_dbx_eval.client.flow import Concurrent, Flow, OpenStream
from langchain_dbx_eval.client.request_options import (
    RequestOptions,
    hide_secret_headers,
    split_options,
)
from langchain_dbx_eval.client.targets import ServingEndpoint
from langchain_dbx_eval.errors import ConfigurationError, InvalidRequestError
from langchain_dbx_eval.wire.metadata import PROVIDER
from langchain_dbx_eval.wire.openai.completions import token_usage
from langchain_dbx_eval.wire.plain_prompt import text_of
from langchain_dbx_eval.wire.stream_reader import StreamReader
from langchain_dbx_eval.wire.tasks import CHAT, COMPLETIONS, DRIVER_APP, TextCodec, text_codec
from langchain_dbx_eval.wire.validate import wrong_shape

__all__ = ["Databricks"]

# LangChain raises a ValueError for a stream without a chunk, which is an empty answer.
_EMPTY = GenerationChunk(text="")


class TextArguments(ModelArguments, total=False):
    """The arguments of `Databricks`; its fields describe them."""

    endpoint_name: str | None
    databricks_uri: str
    task: str | None
    temperature: float | None
    max_tokens: int | None
    n: int
    stop: list[str] | None
    model_kwargs: dict[str, Any]
    extra_params: dict[str, Any]


class Databricks(DatabricksConnection, BaseLLM):
    """A text model on Databricks as a LangChain LLM.

    Two targets: a model serving endpoint (`endpoint_name`), and an HTTP app on a cluster's driver
    node (`cluster_driver_port`), such as `langchain_dbx_eval.driver.DriverServer`.

    The task of the endpoint selects the format: ``{"prompt", …}`` for a completions endpoint and a
    driver app, ``{"messages", …}`` for a chat endpoint, one MLflow record per prompt for a custom
    model. Many prompts are one request if the format supports it, else concurrent requests.

    Example:
        ```python
        llm = Databricks(endpoint_name="dolly")
        llm.invoke("How are you?", stop=["."])
        ```

    Raises:
        ConfigurationError: Neither or both targets are given, or an argument is invalid.
        DatabricksError: A call failed; see `langchain_dbx_eval.errors`.
    """

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    if TYPE_CHECKING:

        def __init__(self, **arguments: Unpack[TextArguments]) -> None: ...

    ENDPOINT_FIELD: ClassVar[str] = "endpoint_name"
    LOGIN_URI_FIELD: ClassVar[str] = "databricks_uri"
    PARAMS_FIELDS: ClassVar[str] = "model_kwargs"

    endpoint_name: str | None = None
    """The serving endpoint to call."""

    databricks_uri: str = "databricks"
    """``databricks``, or ``databricks://<profile>`` to log in with a profile."""

    task: str | None = None
    """The endpoint's task: ``llm/v1/completions`` or ``llm/v1/chat``; any other value: a custom
    MLflow model. Default: read from the endpoint's description, once, before the first call."""

    temperature: float | None = None
    """The sampling temperature; sent only if given, like the next three."""

    max_tokens: int | None = None
    """The maximum number of tokens to generate."""

    n: int = Field(default=1, ge=1)
    """The number of completions per prompt."""

    stop: list[str] | None = None
    """Strings that end the completion; the `stop` of a call takes precedence."""

    model_kwargs: dict[str, Any] = Field(default_factory=dict)
    """Further parameters of each request."""

    extra_params: dict[str, Any] = Field(default_factory=dict)
    """The older name of `model_kwargs`, which takes precedence."""

    _rejects_arrays: bool = PrivateAttr(default=False)

    @model_validator(mode="after")
    def _reject_fixed_prompt(self) -> Self:
        for name in ("model_kwargs", "extra_params"):
            if "prompt" in getattr(self, name):
                msg = f"{name}= contains a 'prompt', which would replace each prompt. Remove it."
                raise ConfigurationError(msg)
        return self

    def __call__(self, prompt: str, stop: list[str] | None = None, **kwargs: Any) -> str:
        """Call `invoke`: the short form of the documentation, which LangChain has removed."""
        return self.invoke(prompt, stop=stop, **kwargs)

    @override
    def save(self, file_path: Path | str) -> None:
        """Save the arguments to a YAML or JSON file, without secrets; `load` reads it.

        Raises:
            ConfigurationError: A hook is a function, which a file cannot hold, or the suffix is
                neither ``.yaml``, ``.yml`` nor ``.json``.
        """
        path = _checked_suffix(file_path)
        for name in ("transform_input_fn", "transform_output_fn"):
            if callable(getattr(self, name)):
                msg = f"{name}= is a function. Give its import string, 'package.module:function'."
                raise ConfigurationError(msg)
        left_out = {*self.lc_secrets, "workspace_client", "callbacks", "cache"}
        given = self.model_dump(mode="json", exclude=left_out, exclude_defaults=True)
        for name in ("model_kwargs", "extra_params"):
            if name in given:
                given[name] = hide_secret_headers(given[name])
        path.parent.mkdir(parents=True, exist_ok=True)
        # The type is that of LangChain's own format.
        text = yaml.safe_dump({"_type": self._llm_type, **given}, allow_unicode=True)
        if path.suffix == ".json":
            text = json.dumps({"_type": self._llm_type, **given}, ensure_ascii=False, indent=4)
        path.write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, file_path: Path | str, **arguments: Unpack[TextArguments]) -> Self:
        """Load a model that `save` has written.

        Args:
            file_path: The file.
            **arguments: Further arguments, which replace those of the file, such as `api_token`.

        Raises:
            ConfigurationError: The file contains no such model.
        """
        # YAML includes JSON.
        given = yaml.safe_load(_checked_suffix(file_path).read_text(encoding="utf-8"))
        if not isinstance(given, dict) or given.pop("_type", None) != "databricks":
            msg = f"{file_path} contains no Databricks model: its '_type' is not 'databricks'."
            raise ConfigurationError(msg)
        return cls(**{**given, **arguments})

    @property
    def _llm_type(self) -> str:
        return "databricks"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        named = {} if self.endpoint_name is None else {"model": self.endpoint_name}
        params = hide_secret_headers(self._params({}))
        return {**named, **self._identity(), "task": self.task, "n": self.n, **params}

    @override
    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop, **kwargs)
        params["ls_provider"] = PROVIDER
        params["ls_model_name"] = self.endpoint_name or str(self._called)
        return params

    @property
    @override
    def _route(self) -> str:
        return text_codec(self._gateway_task).route

    @property
    def _gateway_task(self) -> str:
        return CHAT if self.task == CHAT else COMPLETIONS

    @override
    def _generate(
        self,
        prompts: list[str],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> LLMResult:
        return flow.run(self._complete(prompts, stop, kwargs))

    @override
    async def _agenerate(
        self,
        prompts: list[str],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> LLMResult:
        return await flow.run_async(self._complete(prompts, stop, kwargs))

    @override
    def _stream(
        self,
        prompt: str,
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[GenerationChunk]:
        chunk = None
        for chunk in flow.stream(self._open_stream(prompt, stop, kwargs)):
            if run_manager:
                run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk
        if chunk is None:
            yield _EMPTY

    @override
    async def _astream(
        self,
        prompt: str,
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[GenerationChunk]:
        chunk = None
        async for chunk in flow.stream_async(self._open_stream(prompt, stop, kwargs)):
            if run_manager:
                await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk
        if chunk is None:
            yield _EMPTY

    def _complete(
        self, prompts: Sequence[str], stop: list[str] | None, call: dict[str, Any]
    ) -> Flow[LLMResult]:
        requests, options = self._encode(prompts, stop, call)
        codec = yield from self._codec(options)
        hooked = self.transform_input_fn is not None or self.transform_output_fn is not None
        separate = codec.shares_params and (hooked or self._rejects_arrays)
        batches = [[request] for request in requests] if separate else codec.batches(requests)
        return (yield from self._complete_batches(codec, batches, options))

    def _complete_batches(
        self,
        codec: TextCodec,
        batches: Iterable[Sequence[dict[str, Any]]],
        options: RequestOptions,
    ) -> Flow[LLMResult]:
        flows = [self._complete_batch(codec, batch, options) for batch in batches]
        if len(flows) == 1:
            return (yield from flows[0])
        return _merge((yield Concurrent(flows)))

    def _complete_batch(
        self, codec: TextCodec, requests: Sequence[dict[str, Any]], options: RequestOptions
    ) -> Flow[LLMResult]:
        try:
            payload = yield from self._send(codec.encode(requests), options=options)
        except InvalidRequestError:
            if not codec.shares_params or len(requests) == 1:
                raise
            # Some completions endpoints do not support an array of prompts.
            self._rejects_arrays = True
            separate = [[request] for request in requests]
            return (yield from self._complete_batches(codec, separate, options))
        with flow.naming_target(self._called):
            responses = codec.split(payload, len(requests))
        generations = [self._decode(one, codec.decode, _decode_output) for one in responses]
        model = payload.get("model") if isinstance(payload, dict) else None
        return LLMResult(
            generations=generations, llm_output=_llm_output(token_usage(payload), model)
        )

    def _open_stream(
        self, prompt: str, stop: list[str] | None, call: dict[str, Any]
    ) -> Flow[OpenStream[GenerationChunk] | list[GenerationChunk]]:
        requests, options = self._encode([prompt], stop, call)
        codec = yield from self._codec(options)
        # A `transform_output_fn` needs the whole response.
        if codec.stream is None or self.transform_output_fn is not None or self.n != 1:
            [[first, *_]] = (yield from self._complete([prompt], stop, call)).generations
            return [GenerationChunk(text=first.text, generation_info=first.generation_info)]
        body = codec.encode(requests)
        if self.cluster_driver_port is None or self.path.rstrip("/").endswith("completions"):
            # An app with parameters of its own would reject this one. It may stream because the
            # request's `Accept` header includes events.
            body = {**body, "stream": True}
        opened = yield from self._send(body, streams=True, options=options)
        reader = StreamReader(
            codec.stream(), lambda payload: GenerationChunk(text=text_of(payload))
        )
        return OpenStream(opened, reader, self._called, self.stream_chunk_timeout)

    def _codec(self, options: RequestOptions) -> Flow[TextCodec]:
        if self.cluster_driver_port is not None:
            return text_codec(DRIVER_APP)
        if not isinstance(self._called, ServingEndpoint):
            return text_codec(self._gateway_task)
        return text_codec(self.task or (yield from self._describe(options.timeout)).get("task"))

    def _encode(
        self, prompts: Sequence[str], stop: list[str] | None, call: dict[str, Any]
    ) -> tuple[list[dict[str, Any]], RequestOptions]:
        given = self._params(call if stop is None else {**call, "stop": stop})
        params, options = split_options(given)
        if not params.get("stop"):
            params.pop("stop", None)
        return [self._transform_input({"prompt": one, **params}) for one in prompts], options

    def _params(self, call: dict[str, Any]) -> dict[str, Any]:
        own = {
            "stop": self.stop,
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
            "n": self.n if self.n != 1 else None,
        }
        given = {name: value for name, value in own.items() if value is not None}
        return {**given, **self.extra_params, **self.model_kwargs, **call}


def _checked_suffix(file_path: Path | str) -> Path:
    path = Path(file_path)
    if path.suffix not in (".json", ".yaml", ".yml"):
        msg = f"file_path={str(file_path)!r} must end with .yaml, .yml or .json."
        raise ConfigurationError(msg)
    return path


def _decode_output(output: Any) -> list[Generation]:
    if not isinstance(output, str):
        raise wrong_shape("a string", output)
    return [Generation(text=output)]


def _merge(results: Sequence[LLMResult]) -> LLMResult:
    usage: dict[str, int] = {}
    model = None
    for output in (result.llm_output or {} for result in results):
        model = model or output.get("model_name")
        for name, count in output.get("token_usage", {}).items():
            usage[name] = usage.get(name, 0) + count
    generations = [generations for result in results for generations in result.generations]
    return LLMResult(generations=generations, llm_output=_llm_output(usage, model))


def _llm_output(usage: dict[str, int], model: str | None) -> dict[str, Any] | None:
    output = {"token_usage": usage, "model_name": model}
    return {name: value for name, value in output.items() if value} or None
