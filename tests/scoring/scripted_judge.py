"""A chat model that answers judges by a script, and remembers what it was asked."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from typing import Any

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from pydantic import Field

from langchain_dbx_eval.scoring.judges.texts import JUDGE_PROMPTS


def verdict(rating: Any, rationale: str = "because") -> str:
    return json.dumps({"rationale": rationale, "rating": rating})


def judge_asked(messages: list[BaseMessage]) -> str:
    """Which built-in judge a conversation asks; the two for guidelines have one text."""
    told = str(messages[0].content)
    return next(name for name, prompt in JUDGE_PROMPTS.items() if prompt.task in told)


def block(messages: list[BaseMessage], name: str) -> str:
    """What a judge is shown under a name."""
    found = re.search(rf"<{name}>\n(.*?)\n</{name}>", str(messages[1].content), re.DOTALL)
    assert found is not None, f"{name} is not shown in {messages[1].content}"
    return found[1]


class ScriptedJudge(BaseChatModel):
    """Answers with what `script` makes of the messages; an exception that it returns is raised."""

    script: Callable[[list[BaseMessage]], Any] = Field(default=lambda messages: verdict("yes"))
    seconds: float = 0.0
    asked: list[list[BaseMessage]] = Field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        raise AssertionError("judges are asked asynchronously")

    async def _agenerate(
        self, messages: list[BaseMessage], *args: Any, **kwargs: Any
    ) -> ChatResult:
        self.asked.append(messages)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(self.seconds)
        self.at_once -= 1
        said = self.script(messages)
        if isinstance(said, Exception):
            raise said
        usage = {"input_tokens": 10, "output_tokens": 2, "total_tokens": 12}
        message = said if isinstance(said, AIMessage) else AIMessage(said, usage_metadata=usage)
        return ChatResult(generations=[ChatGeneration(message=message)])

    @property
    def judges_asked(self) -> list[str]:
        return sorted(judge_asked(messages) for messages in self.asked)
