"""`ChatDatabricks`: a chat model behind a serving endpoint or a driver-proxy app."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import LangSmithParams
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from pydantic import ConfigDict, Field

from langchain_dbx_eval.connection import DatabricksConnection
from langchain_dbx_eval.errors import ConnectionFailedError, RequestTimeoutError
from langchain_dbx_eval.wire import chat
from langchain_dbx_eval.wire.sse import events

__all__ = ["ChatDatabricks"]


class ChatDatabricks(DatabricksConnection, BaseChatModel):
    """A chat model on Databricks as a LangChain chat model.

    Two targets: a model serving endpoint (`model`, also called `endpoint`), and an HTTP app on a
    cluster's driver node (`cluster_driver_port`) that speaks chat completions.

    Example:
        ```python
        chat = ChatDatabricks(model="my-chat", temperature=0.1)
        chat.invoke("hello")
        ```

    Raises:
        ConfigurationError: Neither or both targets are given, or one is not usable.
        DatabricksError: A call failed; `langchain_dbx_eval.errors` has the tree.
    """

    model_config = ConfigDict(extra="forbid", populate_by_name=True, protected_namespaces=())

    model: str | None = Field(default=None, alias="endpoint")
    """The serving endpoint to call."""

    target_uri: str = "databricks"
    """``databricks``, or ``databricks://<profile>`` to log in with a profile."""

    temperature: float | None = None
    """Randomness of the answer; sent only when given, like the next three."""

    max_tokens: int | None = None
    """The most tokens to generate."""

    n: int = 1
    """How many answers to ask for."""

    stop: list[str] | None = None
    """The answer ends before the first of these; a call's own `stop` wins."""

    extra_params: dict[str, Any] = Field(default_factory=dict)
    """Further parameters of each request."""

    stream_usage: bool = True
    """Whether to ask for token counts in streams (OpenAI's ``stream_options``)."""

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
        return {"target": str(self._called), "host": self.host, **self._params(None, {})}

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop, **kwargs)
        params["ls_provider"] = "databricks"
        params["ls_model_name"] = self.model or str(self._called)
        return params

    def _endpoint(self) -> str | None:
        return self.model

    def _login_uri(self) -> str | None:
        return self.target_uri

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002 - nothing streams here
        **kwargs: Any,
    ) -> ChatResult:
        answer = self._after(self._post(self._body(messages, stop, kwargs)))
        with self._decoding():
            return chat.decode_answer(answer)

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        if self.transform_output_fn is not None:
            # The hook is promised the whole answer, so the stream is one chunk: the whole answer.
            yield _as_chunk(self._generate(messages, stop, run_manager, **kwargs))
            return
        wanted = {"stream_options": {"include_usage": True}} if self.stream_usage else {}
        body = {**self._body(messages, stop, {**wanted, **kwargs}), "stream": True}
        reader = chat.ChatStream()
        with self._decoding():
            try:
                for event in events(self._open_stream(body)):
                    if chunk := reader.feed(event):
                        yield chunk
            except (ConnectionFailedError, RequestTimeoutError) as error:
                if not reader.started:
                    raise
                raise reader.cut(str(error)) from error
            yield reader.finish()

    def _body(
        self, messages: list[BaseMessage], stop: list[str] | None, call: dict[str, Any]
    ) -> dict[str, Any]:
        return self._before(chat.encode(messages, self._params(stop, call)))

    def _params(self, stop: list[str] | None, call: dict[str, Any]) -> dict[str, Any]:
        own = {
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
            "n": self.n if self.n != 1 else None,
            "stop": (stop if stop is not None else self.stop) or None,
        }
        given = {name: value for name, value in own.items() if value is not None}
        return {**given, **self.extra_params, **call}


def _as_chunk(result: ChatResult) -> ChatGenerationChunk:
    generation = result.generations[0]
    whole = generation.message.model_dump(exclude={"type"})
    return ChatGenerationChunk(
        message=AIMessageChunk(**whole, chunk_position="last"),
        generation_info=generation.generation_info,
    )
