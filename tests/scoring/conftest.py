"""An OpenAI-compatible server for MLflow's own judges."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask, request
from werkzeug.serving import make_server


class OpenAiServer:
    """An OpenAI-compatible server that answers every request with `answer`.

    A function as `answer` receives the body of the request, and may return a message with tool
    calls.
    """

    def __init__(self) -> None:
        self.answer: Any = {"result": "yes", "rationale": "it fits"}
        self.requests: list[str] = []
        self.app = Flask("openai")
        self.app.post("/v1/chat/completions")(self._complete)

    def _complete(self) -> Any:
        body = request.get_json()
        self.requests.append(str(body["messages"]))
        answer = self.answer(body) if callable(self.answer) else self.answer
        if isinstance(answer, dict) and "tool_calls" in answer:
            message = {"role": "assistant", "content": None, **answer}
        else:
            text = answer if isinstance(answer, str) else json.dumps(answer)
            message = {"role": "assistant", "content": text}
        usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        head = {"id": "1", "object": "chat.completion", "created": 1, "model": "local"}
        return {**head, "choices": [choice], "usage": usage}


@pytest.fixture
def openai_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenAiServer]:
    fake = OpenAiServer()
    server = make_server("127.0.0.1", 0, fake.app, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("OPENAI_API_BASE", f"http://127.0.0.1:{server.server_port}/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    # MLflow's judges otherwise download a list of models.
    monkeypatch.setenv("MLFLOW_MODEL_CATALOG_URI", "")
    yield fake
    server.shutdown()
