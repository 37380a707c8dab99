"""`ChatDatabricks`: a chat model behind a serving endpoint or a driver-proxy app."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import LangSmithParams, LanguageModelInput, ModelProfile
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.rate_limiters import BaseRateLimiter
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import get_config_list
from langchain_core.tools import BaseTool
from pydantic import ConfigDict, Field, PrivateAttr, model_validator
from typing_extensions import Unpack, override

from langchain_dbx_eval._internal.daemon_threads import run_all
from langchain_dbx_eval.client import flow
from langchain_dbx_eval.client.arguments import OTHER_NAMES, ModelArguments
from langchain_dbx_eval.client.connection import DatabricksConnection
from langchain_dbx_eval.client.flow import DEFAULT_CONCURRENCY, Flow, OpenStream
from langchain_dbx_eval.client.request_options import hide_secret_headers, split_options
from langchain_dbx_eval.errors import ConfigurationError, InvalidRequestError
from langchain_dbx_eval.wire.content import translator
from langchain_dbx_eval.wire.metadata import PROVIDER
from langchain_dbx_eval.wire.openai.chat import decode_output
from langchain_dbx_eval.wire.openai.tools import ToolChoice, tool_params
from langchain_dbx_eval.wire.stream_reader import StreamReader
from langchain_dbx_eval.wire.tasks import CHAT, RESPONSES, ChatCodec, chat_codec

__all__ = ["ChatDatabricks"]

translator.register()

_REQUEST_USAGE = {"stream_options": {"include_usage": True}}
# The statuses with which servers reject an unknown field of the body.
_UNKNOWN_FIELD_STATUS = (400, 422)


class ChatArguments(ModelArguments, total=False):
    """The arguments of `ChatDatabricks`; its fields describe them."""

    model: str | None
    endpoint: str | None
    target_uri: str
    temperature: float | None
    max_tokens: int | None
    n: int
    stop: list[str] | None
    extra_params: dict[str, Any]
    stream_usage: bool
    streaming: bool
    use_responses_api: bool
    task: str | None
    model_profile: ModelProfile | None
    rate_limiter: BaseRateLimiter | None
    disable_streaming: bool | Literal["tool_calling"]
    output_version: str | None


class ChatDatabricks(DatabricksConnection, BaseChatModel):
    """A chat model on Databricks as a LangChain chat model.

    Two targets: a model serving endpoint (`model`, alias `endpoint`), and an HTTP app on a
    cluster's driver node (`cluster_driver_port`) that implements chat completions.

    Parameters of a call take precedence over those of the constructor.

    Example:
        ```python
        chat = ChatDatabricks(model="my-chat", temperature=0.1)
        chat.invoke("hello")
        ```

    Raises:
        ConfigurationError: Neither or both targets are given, or an argument is invalid.
        DatabricksError: A call failed; see `langchain_dbx_eval.errors`.
    """

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    if TYPE_CHECKING:

        def __init__(self, **arguments: Unpack[ChatArguments]) -> None: ...

    OTHER_NAMES: ClassVar[dict[str, str]] = {**OTHER_NAMES, "endpoint": "model"}
    ENDPOINT_FIELD: ClassVar[str] = "model"
    LOGIN_URI_FIELD: ClassVar[str] = "target_uri"
    PARAMS_FIELDS: ClassVar[str] = "extra_params"

    model: str | None = None
    """The serving endpoint to call (also `endpoint=`), or the model behind a `base_url`."""

    profile_name: str | None = None
    """A profile of ``~/.databrickscfg`` to log in with; the constructor's `profile=` sets it."""

    model_profile: ModelProfile | None = None
    """LangChain's model profile: the capabilities of the model. LangChain reads it as `.profile`,
    a field of `BaseChatModel`, which is why the login profile is not an attribute of that name."""

    target_uri: str = "databricks"
    """``databricks``, or ``databricks://<profile>`` to log in with a profile."""

    temperature: float | None = None
    """The sampling temperature; sent only if given, like the next three."""

    max_tokens: int | None = None
    """The maximum number of tokens to generate."""

    n: int = Field(default=1, ge=1)
    """The number of answers."""

    stop: list[str] | None = None
    """Strings that end the answer; the `stop` of a call takes precedence."""

    extra_params: dict[str, Any] = Field(default_factory=dict)
    """Further parameters of each request."""

    stream_usage: bool = True
    """Whether to request token counts in streams (OpenAI's ``stream_options``). If an endpoint
    rejects the option, it is no longer sent."""

    streaming: bool = False
    """Whether `invoke` streams too, so that callbacks receive each token."""

    use_responses_api: bool = False
    """Whether to use OpenAI's Responses API, as agents made with ResponsesAgent do; the same as
    ``task="agent/v1/responses"``."""

    task: str | None = None
    """The endpoint's task, if it is not ``llm/v1/chat``: ``agent/v1/responses`` (MLflow's
    ResponsesAgent) or ``agent/v2/chat`` (its ChatAgent). The responses of a ChatAgent are
    recognized without it."""

    _rejects_usage_option: bool = PrivateAttr(default=False)
    _rejects_names: bool = PrivateAttr(default=False)

    @model_validator(mode="before")
    @classmethod
    def _rename_profile(cls, values: Any) -> Any:
        """Read `profile=` as the login profile: `BaseChatModel` has a field of that name."""
        if not isinstance(values, dict) or values.get("profile") is None:
            return values
        profile = values["profile"]
        others = {name: value for name, value in values.items() if name != "profile"}
        if isinstance(profile, str):
            return {**others, "profile_name": profile}
        # LangChain copies a model by passing all its fields, this one included.
        if profile == values.get("model_profile"):
            return others
        msg = (
            f"profile= is the name of a login profile, not {profile!r}. Pass LangChain's model "
            "profile as model_profile=."
        )
        raise ConfigurationError(msg)

    @override
    def _resolve_model_profile(self) -> ModelProfile | None:
        return self.model_profile

    def __call__(
        self, messages: list[BaseMessage], stop: list[str] | None = None, **kwargs: Any
    ) -> AIMessage:
        """Call `invoke`: the short form of the documentation, which LangChain has removed."""
        return self.invoke(messages, stop=stop, **kwargs)

    @property
    def _llm_type(self) -> str:
        return "chat-databricks"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        named = {} if self.model is None else {"model": self.model}
        params = hide_secret_headers(self._params(None, {}))
        return {**named, **self._identity(), "task": self._task, **params}

    @override
    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop, **kwargs)
        params["ls_provider"] = PROVIDER
        if not isinstance(kwargs.get("model"), str):
            params["ls_model_name"] = self.model or str(self._called)
        return params

    @override
    def _get_llm_string(self, stop: list[str] | None = None, **kwargs: Any) -> str:
        # langchain-core's cache key is the JSON form, which has neither the host of the
        # environment nor a hook that is a function.
        return f"{super()._get_llm_string(stop, **kwargs)}---{sorted(self._identity().items())}"

    @override
    def _combine_llm_outputs(self, llm_outputs: list[dict[str, Any] | None]) -> dict[str, Any]:
        combined: dict[str, Any] = {}
        for output in llm_outputs:
            kept = {k: v for k, v in (output or {}).items() if k not in ("token_usage", "usage")}
            combined.update(kept)
        return combined

    @property
    def _task(self) -> str:
        return RESPONSES if self.use_responses_api else self.task or CHAT

    @property
    def _codec(self) -> ChatCodec:
        return chat_codec(self._task)

    @property
    @override
    def _route(self) -> str:
        return self._codec.route

    @override
    def batch(
        self,
        inputs: list[LanguageModelInput],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[AIMessage]:
        """Call `invoke` for many inputs, up to `max_concurrency` of the config at once.

        The default of `max_concurrency` is 32; LangChain's depends on the number of CPUs. Ctrl-C
        ends the call at once, where LangChain's waits for the calls in flight.
        """
        if not inputs:
            return []
        configs = get_config_list(_with_max_concurrency(config), len(inputs))

        def call(one: LanguageModelInput, config: RunnableConfig) -> Any:
            try:
                return self.invoke(one, config, **kwargs)
            except Exception as error:
                if not return_exceptions:
                    raise
                return error

        calls = [partial(call, *each) for each in zip(inputs, configs, strict=True)]
        return run_all(calls, configs[0].get("max_concurrency") or DEFAULT_CONCURRENCY)

    @override
    async def abatch(
        self,
        inputs: list[LanguageModelInput],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[AIMessage]:
        """Call `ainvoke` for many inputs; see `batch`."""
        config = _with_max_concurrency(config)
        return await super().abatch(inputs, config, return_exceptions=return_exceptions, **kwargs)

    @override
    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: ToolChoice = None,
        strict: bool | None = None,
        parallel_tool_calls: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Return a copy of the model that may call tools.

        Args:
            tools: Functions, tools, pydantic classes, or OpenAI's own format.
            tool_choice: ``"auto"``, ``"none"``, ``"required"`` (also ``"any"`` or True), a tool's
                name, or OpenAI's own format; default: the endpoint's.
            strict: Whether the arguments must match the tool's schema exactly.
            parallel_tool_calls: Whether the model may call several tools at once.
            **kwargs: Further parameters of each request.

        Raises:
            ConfigurationError: `tool_choice` names no bound tool.
        """
        params = tool_params(tools, choice=tool_choice, strict=strict, parallel=parallel_tool_calls)
        return self.bind(**params, **kwargs)

    @override
    def with_structured_output(
        self,
        schema: dict[str, Any] | type | None = None,
        *,
        method: Literal["function_calling", "json_mode", "json_schema"] = "function_calling",
        include_raw: bool = False,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, Any]:
        """Return a Runnable whose output is an object of a schema.

        Args:
            schema: A pydantic class, a TypedDict, or a JSON schema; optional for `json_mode`.
            method: ``"function_calling"``: the model calls a tool with the object as its argument;
                ``"json_mode"``: it writes any JSON; ``"json_schema"``: it writes JSON of the
                schema.
            include_raw: Whether to return ``{"raw", "parsed", "parsing_error"}`` instead of the
                object, and never raise an error about the model's output.
            strict: Whether the output must match the schema exactly; default: True for
                ``"json_schema"``, else the endpoint's.
            **kwargs: Further parameters of each request.

        Returns:
            A Runnable that returns an instance of a pydantic class, or else a dict.

        Raises:
            ConfigurationError: The method is unknown, or its schema is missing.
        """
        from langchain_dbx_eval.wire.openai.structured_output import structured_output

        return structured_output(
            self, schema, method=method, include_raw=include_raw, strict=strict, params=kwargs
        )

    @override
    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return flow.run(self._answer(messages, stop, kwargs))

    @override
    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return await flow.run_async(self._answer(messages, stop, kwargs))

    @override
    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        return flow.stream(self._open_stream(messages, stop, kwargs))

    @override
    def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        return flow.stream_async(self._open_stream(messages, stop, kwargs))

    def _answer(
        self, messages: Sequence[BaseMessage], stop: list[str] | None, call: dict[str, Any]
    ) -> Flow[ChatResult]:
        codec = self._codec
        payload = yield from self._send_messages(codec, messages, stop, call)
        return self._decode(payload, codec.decode, decode_output)

    def _open_stream(
        self, messages: Sequence[BaseMessage], stop: list[str] | None, call: dict[str, Any]
    ) -> Flow[OpenStream[ChatGenerationChunk] | list[ChatGenerationChunk]]:
        if self.transform_output_fn is not None:  # it needs the whole response
            return [_as_chunk((yield from self._answer(messages, stop, call)))]
        codec = self._codec

        def send(call: dict[str, Any]) -> Flow[Any]:
            return self._send_messages(codec, messages, stop, call, streams=True)

        with_usage = call.get("stream_usage", self.stream_usage)
        if with_usage and codec.has_usage_option and not self._rejects_usage_option:
            try:
                opened = yield from send({**_REQUEST_USAGE, **call})
            except InvalidRequestError as error:
                if error.status_code not in _UNKNOWN_FIELD_STATUS:
                    raise
                opened = yield from send(call)
                # Only this success shows that the option was the cause of the error.
                self._rejects_usage_option = True
        else:
            opened = yield from send(call)
        reader = (StreamReader if with_usage else _ReaderWithoutUsage)(
            codec.stream(), lambda payload: _as_chunk(codec.decode(payload)), codec.recognize
        )
        return OpenStream(opened, reader, self._called, self.stream_chunk_timeout)

    def _send_messages(
        self,
        codec: ChatCodec,
        messages: Sequence[BaseMessage],
        stop: list[str] | None,
        call: dict[str, Any],
        *,
        streams: bool = False,
    ) -> Flow[Any]:
        """Send messages: with their names, until the endpoint rejects a name."""
        if not (codec.has_optional_names and any(message.name for message in messages)):
            return (yield from self._send_encoded(codec, messages, stop, call, streams))
        if not self._rejects_names:
            try:
                return (yield from self._send_encoded(codec, messages, stop, call, streams))
            except InvalidRequestError as error:
                if error.status_code not in _UNKNOWN_FIELD_STATUS:
                    raise
        unnamed = [message.model_copy(update={"name": None}) for message in messages]
        answered = yield from self._send_encoded(codec, unnamed, stop, call, streams)
        # Only this success shows that the names were the cause of the error.
        self._rejects_names = True
        return answered

    def _send_encoded(
        self,
        codec: ChatCodec,
        messages: Sequence[BaseMessage],
        stop: list[str] | None,
        call: dict[str, Any],
        streams: bool,
    ) -> Flow[Any]:
        model = call.get("model")
        call = {k: v for k, v in call.items() if k not in {"stream_usage", "model"}}
        params, options = split_options(self._params(stop, call))
        body = self._transform_input(codec.encode(messages, params))
        if streams:
            body = {**body, "stream": True}
        return self._send(body, model=model, streams=streams, options=options)

    def _params(self, stop: list[str] | None, call: dict[str, Any]) -> dict[str, Any]:
        own = {
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
            "n": self.n if self.n != 1 else None,
            "stop": self.stop,
        }
        call = {**call, "stop": stop}
        given = {name: value for name, value in own.items() if value is not None}
        given.update(self.extra_params)
        # Some external models reject a parameter that is null (langchain-ai/langchain#14100).
        given.update({name: value for name, value in call.items() if value is not None})
        if not given.get("stop"):
            given.pop("stop", None)
        return given


class _ReaderWithoutUsage(StreamReader[ChatGenerationChunk]):
    """Reader that drops the token counts, which some endpoints send without being asked."""

    @override
    def finish(self) -> list[ChatGenerationChunk]:
        chunks = super().finish()  # every codec's counts are in the last chunk
        for chunk in chunks:
            if isinstance(chunk.message, AIMessageChunk):
                chunk.message.usage_metadata = None
        return chunks


def _with_max_concurrency(config: Any) -> Any:
    if isinstance(config, list):
        return [_with_max_concurrency(one) for one in config]
    config = config or {}
    if config.get("max_concurrency") is not None:
        return config
    return {**config, "max_concurrency": DEFAULT_CONCURRENCY}


def _as_chunk(result: ChatResult) -> ChatGenerationChunk:
    generation = result.generations[0]
    fields = generation.message.model_dump(exclude={"type"})
    return ChatGenerationChunk(
        message=AIMessageChunk(**fields, chunk_position="last"),
        generation_info=generation.generation_info,
    )
