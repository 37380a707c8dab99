"""Models, scorers and judges that the tasks import."""

from __future__ import annotations

import json
import os
import re
import urllib.error
import urllib.request
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable, RunnableLambda
from mlflow.genai.scorers import scorer as mlflow_scorer

from langchain_dbx_eval import EvalRecord, scorer
from langchain_dbx_eval._internal.retry import parse_retry_after
from langchain_dbx_eval.errors import RateLimitError


def _answer(question: str) -> str:
    number = int(question.split()[-1])
    if number % 17 == 0:
        raise ValueError("this number is not supported")
    return "" if number % 19 == 0 else f"The answer is {number % 10}."


chain = RunnableLambda(_answer, name="chain")


def _other_answer(question: str) -> str:
    number = int(question.split()[-1])
    return _answer(question if number % 5 else f"question {3 * number + 1}")


other = RunnableLambda(_other_answer, name="other")


def topic_of(record: EvalRecord) -> Any:
    return record.metadata.get("topic")


def make_chain() -> Runnable[str, str]:
    return chain


def answer(inputs: dict[str, Any]) -> str:
    return _answer(inputs["messages"][-1]["content"])


def no_op(question: str) -> str:
    return "answer"


no_op_chain = RunnableLambda(no_op, name="no_op")


@scorer
def length(response: str) -> int:
    return len(response)


@scorer(affects_verdict=True)
def is_even(response: str) -> bool:
    return response[-2:-1] in "02468"


@mlflow_scorer
def by_mlflow(outputs: str) -> bool:
    return bool(outputs)


class Judge(BaseChatModel):
    """Rates an answer by its digit, and fails for some."""

    @property
    def _llm_type(self) -> str:
        return "stand-in"

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        # Only these digits: the prompt contains random ones.
        total = sum(map(int, re.findall(r"(?:answer is|question) (\d+)", messages[-1].text)))
        text = "?" if total % 11 == 0 else json.dumps(_verdict(total))
        return ChatResult(generations=[ChatGeneration(message=AIMessage(text))])


def _verdict(total: int) -> dict[str, str]:
    return {"rationale": f"{total}", "rating": "yes" if total % 3 else "no"}


judge = Judge()


def _post(question: str) -> str:
    """Send a question ``[<url> ]<n>`` to its URL, with the id of this process."""
    *urls, number = question.split()
    url = urls[0] if urls else os.environ["SPARK_TEST_URL"]
    body = str(os.getpid()).encode()
    request = urllib.request.Request(f"{url}{number}", data=body, method="POST")
    with urllib.request.urlopen(request, timeout=300) as response:
        text: str = json.loads(response.read())
    return text


remote = RunnableLambda(_post, name="remote")


def _get(question: str) -> str:
    """Send a question ``<url> <n>`` to its URL; a 429 has the error of this package's clients."""
    url, number = question.split()
    try:
        with urllib.request.urlopen(f"{url}{number}", timeout=60) as response:
            return response.read().decode()
    except urllib.error.HTTPError as error:
        if error.code != 429:
            raise
        wait = parse_retry_after(error.headers["Retry-After"])
        raise RateLimitError("too many requests", status_code=429, retry_after=wait) from error


limited = RunnableLambda(_get, name="limited")
