"""What an embeddings endpoint answers, in OpenAI's shape.

`encoding_format` is accepted, since OpenAI's client always sends one, and the answer is a list
of floats whatever it asks for, which that client takes.
"""

from __future__ import annotations

from typing import Any

from langchain_dbx_eval.testing.errors import invalid_parameter
from langchain_dbx_eval.testing.serving.endpoints import Endpoint
from langchain_dbx_eval.testing.serving.llm import count_tokens

__all__ = ["answer"]

_OWN_FIELDS = ("input", "model", "encoding_format")


def answer(endpoint: Endpoint, body: dict[str, Any]) -> dict[str, Any]:
    """One vector for each text of `input`.

    Raises:
        Refusal: `input` is missing, or is neither a text nor a list of texts.
        TypeError: The function did not return one vector for each text.
    """
    # The wording is from dbdemos issue 97.
    if "input" not in body:
        raise invalid_parameter("Missing required embeddings parameter: 'input'")
    texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise invalid_parameter("'input' must be a string or a list of strings.")
    params = {name: value for name, value in body.items() if name not in _OWN_FIELDS}
    vectors = list(endpoint.model.run(texts, params))
    if len(vectors) != len(texts):
        msg = f"The function returned {len(vectors)} vectors for {len(texts)} texts."
        raise TypeError(msg)
    tokens = sum(count_tokens(text) for text in texts)
    return {
        "object": "list",
        "model": endpoint.name,
        "data": [
            {"index": index, "object": "embedding", "embedding": [float(x) for x in vector]}
            for index, vector in enumerate(vectors)
        ],
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }
