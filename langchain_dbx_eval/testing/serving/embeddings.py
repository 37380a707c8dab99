"""Embeddings endpoints, in OpenAI's format.

`encoding_format` is accepted, because OpenAI's client always sends one, and ignored: the answer is
always a list of floats, which that client accepts.
"""

from __future__ import annotations

from typing import Any

from langchain_dbx_eval.testing.errors import invalid_parameter
from langchain_dbx_eval.testing.serving.endpoints import Endpoint
from langchain_dbx_eval.testing.serving.text import count_tokens

__all__ = ["answer"]

_RESERVED_FIELDS = ("input", "model", "encoding_format")
_KNOWN_FIELDS = frozenset(
    {"client_request_id", "dimensions", "instruction", "usage_context", "user"}
)


def answer(endpoint: Endpoint, body: dict[str, Any]) -> dict[str, Any]:
    """Return one vector per text of `input`.

    Raises:
        ApiError: `input` is missing, or is neither a string nor a list of texts.
        TypeError: The backend returned another number of vectors.
    """
    # The wording is from dbdemos issue 97.
    if "input" not in body:
        raise invalid_parameter("Missing required embeddings parameter: 'input'")
    texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise invalid_parameter("'input' must be a string or a list of strings.")
    params = {name: value for name, value in body.items() if name not in _RESERVED_FIELDS}
    vectors = list(endpoint.backend.invoke(texts, params, known=_KNOWN_FIELDS))
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
