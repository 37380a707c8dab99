"""A chat model that answers judge requests by a script, and records them."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable
from typing import Any

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from pydantic import Field

from langchain_dbx_eval.scoring.judges.builtin import BUILT_IN_JUDGES

_DEADLINE_S = 60


def verdict(rating: Any, rationale: str = "because") -> str:
    return json.dumps({"rationale": rationale, "rating": rating})


def requested_judge(messages: list[BaseMessage]) -> str:
    """Name of the built-in judge of a request; both guideline judges have the same prompt."""
    system = str(messages[0].content)
    return next(name for name, spec in BUILT_IN_JUDGES.items() if spec.prompt in system)


def block(messages: list[BaseMessage], name: str) -> str:
    """The input of a request with this name."""
    found = re.search(rf"<{name}>\n(.*?)\n</{name}>", str(messages[1].content), re.DOTALL)
    assert found is not None, f"{name} is not shown in {messages[1].content}"
    return found[1]


class ScriptedJudge(BaseChatModel):
    """Answers with the result of `script`; an exception that it returns is raised.

    No call is answered before `rendezvous` calls were in flight at once.
    """

    script: Callable[[list[BaseMessage]], Any] = Field(default=lambda messages: verdict("yes"))
    rendezvous: int = 0
    requests: list[list[BaseMessage]] = Field(default_factory=list)
    in_flight: int = 0
    max_in_flight: int = 0

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        raise AssertionError("judges are called asynchronously")

    async def _agenerate(
        self, messages: list[BaseMessage], *args: Any, **kwargs: Any
    ) -> ChatResult:
        self.requests.append(messages)
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        deadline = time.monotonic() + _DEADLINE_S
        while self.max_in_flight < self.rendezvous:
            assert time.monotonic() < deadline, f"only {self.max_in_flight} calls at once"
            await asyncio.sleep(0.005)
        # Time for a call beyond the limit to start.
        await asyncio.sleep(0.01 if self.rendezvous else 0)
        self.in_flight -= 1
        answer = self.script(messages)
        if isinstance(answer, Exception):
            raise answer
        usage = {"input_tokens": 10, "output_tokens": 2, "total_tokens": 12}
        message = (
            answer if isinstance(answer, AIMessage) else AIMessage(answer, usage_metadata=usage)
        )
        return ChatResult(generations=[ChatGeneration(message=message)])

    @property
    def requested_judges(self) -> list[str]:
        return sorted(requested_judge(messages) for messages in self.requests)
