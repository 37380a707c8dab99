from __future__ import annotations

import sys
import threading
from asyncio import CancelledError
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests

from langchain_dbx_eval.driver import (
    STANDARD_PARAMETERS,
    CallableEngine,
    DriverServer,
    GenerationRequest,
)
from langchain_dbx_eval.errors import ConfigurationError, InvalidResponseError

StartServer = Callable[..., DriverServer]


def complete(function: Callable[..., str], request: GenerationRequest) -> str:
    return CallableEngine(function).generate(request).text


def test_the_first_parameter_receives_the_prompt() -> None:
    assert complete(lambda text: text.upper(), GenerationRequest("hi")) == "HI"


def test_a_function_allows_its_keyword_parameters() -> None:
    def answer(prompt: str, stop: Any = None, top_k: int = 1, *, style: str = "") -> str:
        return prompt

    assert CallableEngine(answer).parameters == {"top_k", "style"}


def test_a_function_with_kwargs_also_allows_the_standard_parameters() -> None:
    def answer(prompt: str, style: str = "", **params: Any) -> str:
        return prompt

    assert CallableEngine(answer).parameters == STANDARD_PARAMETERS | {"style"}


def test_no_standard_parameter_can_load_code() -> None:
    assert not STANDARD_PARAMETERS & {"trust_remote_code", "custom_generate", "model"}


def test_parameters_are_passed_to_the_function() -> None:
    def answer(prompt: str, temperature: float = 0.0) -> str:
        return f"{prompt} at {temperature}"

    assert complete(answer, GenerationRequest("hi", params={"temperature": 0.5})) == "hi at 0.5"


@pytest.mark.parametrize(("stop", "given"), [(("x", "y"), "['x', 'y']"), ((), "None")])
def test_a_parameter_named_stop_receives_the_stop_strings(
    stop: tuple[str, ...], given: str
) -> None:
    def answer(prompt: str, stop: list[str] | None) -> str:
        return repr(stop).replace("x", "X").replace("y", "Y")

    assert complete(answer, GenerationRequest("hi", stop)).lower() == given.lower()


def test_a_completion_is_truncated_if_the_function_has_no_stop_parameter() -> None:
    request = GenerationRequest("banana\nHuman: hi", ("\nHuman:",))
    assert complete(lambda prompt: prompt, request) == "banana"


def test_a_completion_is_truncated_if_the_function_ignores_stop() -> None:
    assert complete(lambda prompt, stop=None: prompt, GenerationRequest("a.b", (".",))) == "a"


@pytest.mark.parametrize("answer", [None, 5, b"bytes", {"text": "hi"}, ["hi"]])
def test_a_result_that_is_not_text_is_an_error_with_function_and_type(answer: Any) -> None:
    def broken(prompt: str) -> Any:
        return answer

    with pytest.raises(InvalidResponseError, match=rf"broken returned {type(answer).__name__}"):
        complete(broken, GenerationRequest("hi"))


class Answerer:
    def __call__(self, prompt: str) -> str:
        return f"called with {prompt}"

    def answer(self, prompt: str) -> str:
        return f"answered {prompt}"


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (Answerer(), "called with hi"),
        (Answerer().answer, "answered hi"),
        (partial(lambda prefix, prompt: prefix + prompt, "> "), "> hi"),
        (lambda *args: args[0], "hi"),
        (str.upper, "HI"),
    ],
)
def test_any_callable_with_a_positional_parameter_is_served(
    function: Callable[..., str], expected: str
) -> None:
    assert complete(function, GenerationRequest("hi")) == expected


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda: "", "no positional argument"),
        (lambda *, prompt: prompt, "no positional argument"),
        (lambda **kwargs: "", "no positional argument"),
        (lambda prompt, history: prompt, "'history'"),
        (lambda prompt, *, key: prompt, "'key'"),
        ("a string", "is not callable"),
        (dict, "signature of dict is unknown"),
    ],
)
def test_an_unsupported_callable_is_rejected_at_once(function: Any, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        CallableEngine(function)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory; modules imported from it are removed afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    (tmp_path / "dbx_app.py").write_text("NUMBER = 5\ndef answer(prompt):\n    return prompt * 2\n")
    return tmp_path


def test_a_function_is_loaded_from_the_current_directory(project: Path) -> None:
    engine = CallableEngine.load("dbx_app:answer")
    assert engine.generate(GenerationRequest("ab")).text == "abab"


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("dbx_app", r"package\.module:name"),
        ("dbx_app:", r"package\.module:name"),
        (":answer", r"package\.module:name"),
        ("dbx_missing:answer", "no module 'dbx_missing'"),
        ("dbx_app.sub:answer", r"no module 'dbx_app\.sub'"),
        ("dbx_app:missing", "has no attribute 'missing'"),
        ("dbx_app:NUMBER", "is not callable"),
        ("..relative:answer", "raised TypeError"),
    ],
)
def test_each_loading_error_has_its_own_message(project: Path, target: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        CallableEngine.load(target)


def test_the_error_of_a_failing_module_is_in_the_message(project: Path) -> None:
    (project / "dbx_broken.py").write_text("1 / 0\n")
    with pytest.raises(ConfigurationError, match="ZeroDivisionError: division by zero"):
        CallableEngine.load("dbx_broken:answer")


def test_a_missing_dependency_of_the_module_is_named(project: Path) -> None:
    (project / "dbx_dependent.py").write_text("import dbx_not_installed\n")
    with pytest.raises(ConfigurationError, match="needs 'dbx_not_installed'"):
        CallableEngine.load("dbx_dependent:answer")


async def coroutine(prompt: str) -> str:
    return prompt


async def async_generator(prompt: str) -> AsyncIterator[str]:
    yield prompt


class AsyncCallable:
    async def __call__(self, prompt: str) -> str:
        return prompt


@pytest.mark.parametrize(
    "function", [coroutine, async_generator, AsyncCallable(), AsyncCallable().__call__]
)
def test_an_asynchronous_function_is_rejected(function: Any) -> None:
    with pytest.raises(ConfigurationError, match="asynchronous"):
        CallableEngine(function)


@pytest.mark.parametrize("end", [SystemExit, KeyboardInterrupt, GeneratorExit, CancelledError])
def test_an_exception_that_ends_a_thread_is_an_error_500(
    start_server: StartServer, end: type[BaseException]
) -> None:
    def exit_thread(prompt: str) -> str:
        raise end

    server = start_server(exit_thread)
    response = requests.post(server.url, json={"prompt": "a"}, timeout=30)
    assert (response.status_code, response.json()["error_code"]) == (500, "INTERNAL_ERROR")
    assert "in_flight 0.0" in requests.get(f"{server.url}/metrics", timeout=30).text


def test_the_prompts_of_one_request_run_concurrently(
    start_server: StartServer,
) -> None:
    all_running = threading.Barrier(4, timeout=30)

    def answer(prompt: str) -> str:
        all_running.wait()
        return prompt.upper()

    url = f"{start_server(answer).url}/v1/completions"
    body = {"model": "m", "prompt": ["a", "b", "c", "d"]}
    choices = requests.post(url, json=body, timeout=60).json()["choices"]
    assert [choice["text"] for choice in choices] == ["A", "B", "C", "D"]


def test_one_failing_prompt_fails_its_request_at_once(start_server: StartServer) -> None:
    released = threading.Event()

    def answer(prompt: str) -> str:
        if prompt == "bad":
            raise ValueError(prompt)
        released.wait(30)
        return prompt

    url = f"{start_server(answer).url}/v1/completions"
    body = {"model": "m", "prompt": ["slow", "bad"]}
    assert requests.post(url, json=body, timeout=20).status_code == 500
    released.set()
