"""The judge of the demonstration: a deterministic function in place of a model."""

from __future__ import annotations

import json
import re

from langchain_dbx_eval.demo.answerer import words

__all__ = ["judge"]

_NEEDED = 0.6
_INPUT = r"<{name}>\n(.*?)\n</{name}>"


def judge(messages: list[dict[str, str]], **params: object) -> str:  # noqa: ARG001 - the signature
    """Rate the correctness of a response by the words that it shares with the expected one.

    Args:
        messages: A request of the judge "correctness", in OpenAI's form.
        params: Of a model; ignored.

    Returns:
        The JSON object of a verdict: "yes" if the response contains 60 % of the words of the
        expected response.
    """
    text = messages[-1]["content"]
    response, expected = (words(_input(text, name)) for name in ("response", "expected_response"))
    found = len(response & expected)
    rating = "yes" if found >= _NEEDED * len(expected) else "no"
    rationale = (
        f"A function, no model: {found} of {len(expected)} words of the expected response are in "
        f"the response; {_NEEDED:.0%} are needed."
    )
    return json.dumps({"rationale": rationale, "rating": rating})


def _input(text: str, name: str) -> str:
    found = re.search(_INPUT.format(name=name), text, re.DOTALL)
    return found[1] if found else ""
