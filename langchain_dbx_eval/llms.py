"""`Databricks`: a text model behind a serving endpoint or a driver-proxy app."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models.llms import BaseLLM
from langchain_core.outputs import Generation, LLMResult
from pydantic import ConfigDict, Field

from langchain_dbx_eval.connection import DatabricksConnection
from langchain_dbx_eval.wire import chat, completions, mlflow_models
from langchain_dbx_eval.wire.shape import wrong_shape

__all__ = ["Databricks"]


class Databricks(DatabricksConnection, BaseLLM):
    """A text model on Databricks as a LangChain LLM.

    Two targets: a model serving endpoint (`endpoint_name`), and an HTTP app on a cluster's driver
    node (`cluster_driver_port`), such as `langchain_dbx_eval.driver.DriverServer`.

    What is sent follows the endpoint's task: ``{"prompt", …}`` to a completions endpoint and to a
    driver app, ``{"messages", …}`` to a chat endpoint, and one MLflow record a prompt to a custom
    model, many prompts in one request.

    Example:
        ```python
        llm = Databricks(endpoint_name="dolly")
        llm.invoke("How are you?", stop=["."])
        ```

    Raises:
        ConfigurationError: Neither or both targets are given, or one is not usable.
        DatabricksError: A call failed; `langchain_dbx_eval.errors` has the tree.
    """

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

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

    n: int = 1
    """How many completions to ask for each prompt."""

    stop: list[str] | None = None
    """The answer ends before the first of these; a call's own `stop` wins."""

    model_kwargs: dict[str, Any] = Field(default_factory=dict)
    """Further parameters of each request."""

    extra_params: dict[str, Any] = Field(default_factory=dict)
    """The older name of `model_kwargs`, which wins where both name a parameter."""

    def __call__(self, prompt: str, stop: list[str] | None = None, **kwargs: Any) -> str:
        """The documented short form of `invoke`, which LangChain itself has dropped."""
        return self.invoke(prompt, stop=stop, **kwargs)

    @property
    def _llm_type(self) -> str:
        return "databricks"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {
            "target": str(self._called),
            "host": self.host,
            "task": self.task,
            "n": self.n,
            "stop": self.stop,
            **self._params({}),
        }

    def _endpoint(self) -> str | None:
        return self.endpoint_name

    def _login_uri(self) -> str | None:
        return self.databricks_uri

    def _generate(
        self,
        prompts: list[str],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002 - nothing streams here
        **kwargs: Any,
    ) -> LLMResult:
        requests = [self._before(self._body(prompt, stop, kwargs)) for prompt in prompts]
        if self._is_app:
            generations = [self._ask_app(request) for request in requests]
        elif (task := self.task or self._endpoint_task()) == "llm/v1/completions":
            generations = [self._ask_completions(request) for request in requests]
        elif task == "llm/v1/chat":
            generations = [self._ask_chat(request) for request in requests]
        else:
            generations = self._ask_custom_model(requests)
        return LLMResult(generations=generations)

    def _body(self, prompt: str, stop: list[str] | None, call: dict[str, Any]) -> dict[str, Any]:
        body: dict[str, Any] = {"prompt": prompt}
        if stops := stop if stop is not None else self.stop:
            body["stop"] = stops
        return {**body, **self._params(call)}

    def _params(self, call: dict[str, Any]) -> dict[str, Any]:
        own = {
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
            "n": self.n if self.n != 1 else None,
        }
        given = {name: value for name, value in own.items() if value is not None}
        return {**given, **self.extra_params, **self.model_kwargs, **call}

    def _ask_app(self, request: dict[str, Any]) -> list[Generation]:
        return [self._read_text(self._post(request))]

    def _ask_completions(self, request: dict[str, Any]) -> list[Generation]:
        answer = self._post(request)
        if self.transform_output_fn is not None:
            return [self._read_text(answer)]
        with self._decoding():
            return completions.decode(answer)

    def _ask_chat(self, request: dict[str, Any]) -> list[Generation]:
        if "prompt" in request:
            request = dict(request)
            request["messages"] = [{"role": "user", "content": request.pop("prompt")}]
        answer = self._post(request)
        if self.transform_output_fn is not None:
            return [self._read_text(answer)]
        with self._decoding():
            return [
                Generation(text=choice.text, generation_info=choice.generation_info)
                for choice in chat.decode(answer).generations
            ]

    def _ask_custom_model(self, requests: Sequence[dict[str, Any]]) -> list[list[Generation]]:
        answer = self._post(mlflow_models.encode_records(requests))
        with self._decoding():
            predictions = mlflow_models.decode_predictions(answer, len(requests))
        return [[self._read_text(prediction)] for prediction in predictions]

    def _read_text(self, answer: Any) -> Generation:
        with self._decoding():
            if self.transform_output_fn is None:
                return Generation(text=mlflow_models.text_of(answer))
            text = self._after(answer)
            if not isinstance(text, str):
                raise wrong_shape("a text after transform_output_fn", text)
            return Generation(text=text)
