"""`ChatDatabricks`: a chat model behind a serving endpoint or a driver-proxy app."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any, Literal

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import LangSmithParams, LanguageModelInput
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.tools import BaseTool
from pydantic import ConfigDict, Field, PrivateAttr, model_validator
from typing_extensions import Self, override

from langchain_dbx_eval._internal.fan_out import DEFAULT_CONCURRENCY
from langchain_dbx_eval.client.connection import DatabricksConnection
from langchain_dbx_eval.errors import (
    ConfigurationError,
    ConnectionFailedError,
    InvalidRequestError,
    RequestTimeoutError,
)
from langchain_dbx_eval.wire.content import translator as block_translator
from langchain_dbx_eval.wire.openai import chat
from langchain_dbx_eval.wire.openai.tools import ToolChoice, bound_tools
from langchain_dbx_eval.wire.stream_reader import StreamReader
from langchain_dbx_eval.wire.tasks import (
    CHAT,
    CHAT_TASKS,
    RESPONSES,
    ChatFormat,
    chat_format,
    reader_of_chat_agent,
)

__all__ = ["ChatDatabricks"]

block_translator.register()

_OPTIONS_FOR_USAGE = {"stream_options": {"include_usage": True}}


class ChatDatabricks(DatabricksConnection, BaseChatModel):
    """A chat model on Databricks as a LangChain chat model.

    Two targets: a model serving endpoint (`model`, also called `endpoint`), and an HTTP app on a
    cluster's driver node (`cluster_driver_port`) that speaks chat completions.

    A value given in a call wins over the constructor's.

    Example:
        ```python
        chat = ChatDatabricks(model="my-chat", temperature=0.1)
        chat.invoke("hello")
        ```

    Raises:
        ConfigurationError: Neither or both targets are given, or an argument is not usable.
        DatabricksError: A call failed; `langchain_dbx_eval.errors` has the tree.
    """

    model_config = ConfigDict(extra="forbid", populate_by_name=True, protected_namespaces=())

    model: str | None = Field(default=None, alias="endpoint")
    """The serving endpoint to call, or the model's name behind a `base_url`."""

    profile_name: str | None = None
    """A profile of ``~/.databrickscfg`` to log in with; `profile="name"` says the same. (A dict as
    `profile` is LangChain's model profile.)"""

    target_uri: str = "databricks"
    """``databricks``, or ``databricks://<profile>`` to log in with a profile."""

    temperature: float | None = None
    """Randomness of the answer; sent only when given, like the next three."""

    max_tokens: int | None = None
    """The most tokens to generate."""

    n: int = Field(default=1, ge=1)
    """How many answers to ask for."""

    stop: list[str] | None = None
    """The answer ends before the first of these; a call's own `stop` wins."""

    extra_params: dict[str, Any] = Field(default_factory=dict)
    """Further parameters of each request."""

    stream_usage: bool = True
    """Whether to ask for token counts in streams (OpenAI's ``stream_options``). An endpoint that
    refuses to be asked is not asked again."""

    streaming: bool = False
    """Whether `invoke` streams too, so that callbacks see each token."""

    use_responses_api: bool = False
    """Whether to speak OpenAI's Responses API, as agents made with ResponsesAgent do; the same as
    ``task="agent/v1/responses"``."""

    task: str | None = None
    """The endpoint's task, where it is not ``llm/v1/chat``: ``agent/v1/responses`` (MLflow's
    ResponsesAgent) or ``agent/v2/chat`` (its ChatAgent). The answers of a ChatAgent are read
    without being told, too."""

    _usage_option_refused: bool = PrivateAttr(default=False)

    @model_validator(mode="before")
    @classmethod
    def _tell_profiles_apart(cls, values: Any) -> Any:
        if isinstance(values, dict) and isinstance(values.get("profile"), str):
            values = {**values, "profile_name": values["profile"]}
            del values["profile"]
        return values

    def __call__(
        self, messages: list[BaseMessage], stop: list[str] | None = None, **kwargs: Any
    ) -> AIMessage:
        """The documented short form of `invoke`, which LangChain itself has dropped."""
        return self.invoke(messages, stop=stop, **kwargs)

    @property
    def _llm_type(self) -> str:
        return "chat-databricks"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {**self._identity(), "task": self._task(), **self._params(None, {})}

    @override
    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop, **kwargs)
        params["ls_provider"] = chat.PROVIDER
        if not isinstance(kwargs.get("model"), str):
            params["ls_model_name"] = self.model or str(self._called)
        return params

    @override
    def _get_llm_string(self, stop: list[str] | None = None, **kwargs: Any) -> str:
        # Core's key for its cache is the JSON form, which knows neither the host that the
        # environment names nor a hook that is a function.
        return f"{super()._get_llm_string(stop, **kwargs)}---{sorted(self._identity().items())}"

    @override
    def _combine_llm_outputs(self, llm_outputs: list[dict[str, Any] | None]) -> dict[str, Any]:
        combined: dict[str, Any] = {}
        for output in llm_outputs:
            combined.update({k: v for k, v in (output or {}).items() if k != "token_usage"})
        return combined

    def _task(self) -> str:
        return RESPONSES if self.use_responses_api else self.task or CHAT

    @property
    def _format(self) -> ChatFormat:
        return chat_format(self._task())

    @model_validator(mode="after")
    def _check_task(self) -> Self:
        if self._task() not in CHAT_TASKS:
            known = ", ".join(CHAT_TASKS)
            msg = f"task={self.task!r} is not known. Those that are: {known}."
            raise ConfigurationError(msg)
        return self

    @override
    def _model(self) -> str | None:
        return self.model

    @override
    def _login_uri(self) -> str | None:
        return self.target_uri

    @override
    def _route(self) -> str:
        return "responses" if self._task() == RESPONSES else "chat/completions"

    @override
    def batch(
        self,
        inputs: list[LanguageModelInput],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[AIMessage]:
        """Ask many questions at once; `max_concurrency` of the config bounds how many.

        Its default here is a number of calls that wait for a network, not of CPUs.
        """
        bounded = _bounded(config)
        return super().batch(inputs, bounded, return_exceptions=return_exceptions, **kwargs)

    @override
    async def abatch(
        self,
        inputs: list[LanguageModelInput],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[AIMessage]:
        """Ask many questions at once; see `batch`."""
        bounded = _bounded(config)
        return await super().abatch(inputs, bounded, return_exceptions=return_exceptions, **kwargs)

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
        """Let the model call tools.

        Args:
            tools: Functions, tools, pydantic classes, or OpenAI's own form.
            tool_choice: ``"auto"``, ``"none"``, ``"required"`` (also ``"any"`` or True), a tool's
                name, or OpenAI's own form; default: the endpoint's.
            strict: Whether the arguments must fit the tool's schema exactly.
            parallel_tool_calls: Whether the model may call several tools at once.
            **kwargs: Further parameters of each request.

        Raises:
            ConfigurationError: `tool_choice` names no tool that is bound.
        """
        bound = bound_tools(tools, choice=tool_choice, strict=strict, parallel=parallel_tool_calls)
        return self.bind(**bound, **kwargs)

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
        """Let the model answer with an object of a schema.

        Args:
            schema: A pydantic class, a TypedDict, or a JSON schema; `json_mode` needs none.
            method: How the model is made to: by calling a tool that takes the object, by answering
                with any JSON, or by answering with JSON of this schema.
            include_raw: Whether to return ``{"raw", "parsed", "parsing_error"}`` instead of the
                object, and never raise over what the model wrote.
            strict: Whether the model must keep to the schema exactly.
            **kwargs: Further parameters of each request.

        Returns:
            A Runnable that gives an instance of a pydantic class, or else a dict.

        Raises:
            ConfigurationError: The method is unknown, or needs a schema that is not given.
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
        return self._read(self._post(self._body(messages, stop, kwargs), kwargs.get("model")))

    @override
    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        body = self._body(messages, stop, kwargs)
        return self._read(await self._apost(body, kwargs.get("model")))

    @override
    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        if self.transform_output_fn is not None:
            # The hook is promised the whole answer, so the stream is one chunk: the whole answer.
            kwargs.pop("stream_usage", None)
            yield _as_chunk(self._generate(messages, stop, run_manager, **kwargs))
            return
        body = self._stream_body(messages, stop, kwargs)
        reader = self._stream_reader()
        try:
            for piece in self._open_stream(body, kwargs.get("model")):
                yield from self._chunks(reader, piece)
        except (ConnectionFailedError, RequestTimeoutError) as error:
            raise reader.lost(error) from error
        except InvalidRequestError:
            if not self._ask_no_more_for_usage(body):
                raise
            yield from self._stream(messages, stop, run_manager, **kwargs)

    @override
    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        if self.transform_output_fn is not None:
            kwargs.pop("stream_usage", None)
            yield _as_chunk(await self._agenerate(messages, stop, run_manager, **kwargs))
            return
        body = self._stream_body(messages, stop, kwargs)
        reader = self._stream_reader()
        try:
            async for piece in self._aopen_stream(body, kwargs.get("model")):
                for chunk in self._chunks(reader, piece):
                    yield chunk
        except (ConnectionFailedError, RequestTimeoutError) as error:
            raise reader.lost(error) from error
        except InvalidRequestError:
            if not self._ask_no_more_for_usage(body):
                raise
            async for chunk in self._astream(messages, stop, run_manager, **kwargs):
                yield chunk

    def _body(
        self, messages: Sequence[BaseMessage], stop: list[str] | None, call: dict[str, Any]
    ) -> dict[str, Any]:
        call = {k: v for k, v in call.items() if k not in {"stream_usage", "model"}}
        return self._before(self._format.encode(messages, self._params(stop, call)))

    def _stream_body(
        self, messages: Sequence[BaseMessage], stop: list[str] | None, call: dict[str, Any]
    ) -> dict[str, Any]:
        wanted = call.get("stream_usage", self.stream_usage) and not self._usage_option_refused
        wanted = wanted and self._format.tells_usage_when_asked
        asked = {**(_OPTIONS_FOR_USAGE if wanted else {}), **call}
        return {**self._body(messages, stop, asked), "stream": True}

    def _ask_no_more_for_usage(self, body: dict[str, Any]) -> bool:
        """Whether the request that was refused had asked for usage; from now on none does."""
        if self._usage_option_refused or "stream_options" not in body:
            return False
        self._usage_option_refused = True
        return True

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
        # Some external models refuse a parameter that is null (langchain-ai/langchain#14100).
        given.update({name: value for name, value in call.items() if value is not None})
        if not given.get("stop"):
            given.pop("stop", None)
        return given

    def _read(self, answer: Any) -> ChatResult:
        answer = self._after(answer)
        hooked = self.transform_output_fn is not None
        with self._decoding(hooked=hooked):
            # What a hook made of the answer is no longer in the endpoint's own form.
            return chat.decode_answer(answer) if hooked else self._format.decode(answer)

    def _stream_reader(self) -> StreamReader[ChatGenerationChunk]:
        decode = self._format.decode
        return StreamReader(
            self._format.events(), lambda answer: _as_chunk(decode(answer)), reader_of_chat_agent
        )

    def _chunks(
        self, reader: StreamReader[ChatGenerationChunk], piece: bytes
    ) -> list[ChatGenerationChunk]:
        with self._decoding():
            return reader.feed(piece)


def _bounded(config: Any) -> Any:
    if isinstance(config, list):
        return [_bounded(one) for one in config]
    config = config or {}
    if config.get("max_concurrency") is not None:
        return config
    return {**config, "max_concurrency": DEFAULT_CONCURRENCY}


def _as_chunk(result: ChatResult) -> ChatGenerationChunk:
    generation = result.generations[0]
    whole = generation.message.model_dump(exclude={"type"})
    return ChatGenerationChunk(
        message=AIMessageChunk(**whole, chunk_position="last"),
        generation_info=generation.generation_info,
    )
