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
    """An OpenAI-compatible server that answers every request with `answer`."""

    def __init__(self) -> None:
        self.answer: Any = {"result": "yes", "rationale": "it fits"}
        self.requests: list[str] = []
        self.app = Flask("openai")
        self.app.post("/v1/chat/completions")(self._complete)

    def _complete(self) -> Any:
        self.requests.append(str(request.get_json()["messages"]))
        text = self.answer if isinstance(self.answer, str) else json.dumps(self.answer)
        usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
        message = {"role": "assistant", "content": text}
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
    yield fake
    server.shutdown()
