"""Embeddings.

Protocol: OpenAI's "Embeddings" API, as Databricks' embedding endpoints implement it
(``llm/v1/embeddings``).
"""

from __future__ import annotations

import base64
import binascii
import math
import sys
from array import array
from collections.abc import Sequence
from typing import Any

from langchain_dbx_eval.wire.tasks import EmbeddingsCodec
from langchain_dbx_eval.wire.validate import expect_dict, expect_list, wrong_shape

__all__ = ["CODEC", "check_dimension", "decode", "decode_vectors", "encode"]


def encode(texts: Sequence[str], params: dict[str, Any]) -> dict[str, Any]:
    """Return the body of an embeddings request: ``{"input": [...], **params}``."""
    return {"input": list(texts), **params}


def decode(payload: Any, count: int) -> list[list[float]]:
    """Decode the response to an embeddings request.

    Args:
        payload: The decoded JSON. A vector is a list of numbers, or base64 of 32-bit
            little-endian floats.
        count: The number of texts.

    Returns:
        One vector per text, in the order of the texts, by the ``index`` of each.

    Raises:
        InvalidResponseError: The payload is of another shape, or has not `count` vectors.
    """
    items = expect_list(expect_dict(payload), "data")
    decoded = [expect_dict(raw, "objects in 'data'") for raw in items]
    # Some servers write 0 for each text: then the order is that of the texts.
    has_order = any(item.get("index", 0) != 0 for item in decoded)
    vectors: dict[int, Any] = {}
    for position, item in enumerate(decoded):
        index = item.get("index", position) if has_order else position
        if not isinstance(index, int) or index in vectors:
            raise wrong_shape("a distinct number under each 'index'", payload)
        vectors[index] = item.get("embedding")
    if vectors.keys() != set(range(count)):
        raise wrong_shape(f"one vector for each of the {count} texts", payload)
    return decode_vectors([vectors[index] for index in range(count)], count)


def decode_vectors(vectors: Any, count: int) -> list[list[float]]:
    """Validate vectors, from a response or a `transform_output_fn`.

    Args:
        vectors: A list of lists of numbers.
        count: The number of texts.

    Returns:
        The vectors, of one dimension, as floats.

    Raises:
        InvalidResponseError: They are not `count` lists of numbers of the same length.
    """
    if not isinstance(vectors, list) or len(vectors) != count:
        raise wrong_shape(f"a list with one vector for each of the {count} texts", vectors)
    decoded = [_decode_vector(vector) for vector in vectors]
    check_dimension(decoded)
    return decoded


def check_dimension(vectors: Sequence[Sequence[float]]) -> None:
    """Check that all vectors have the same dimension.

    Raises:
        InvalidResponseError: Their lengths differ.
    """
    lengths = sorted({len(vector) for vector in vectors})
    if len(lengths) > 1:
        raise wrong_shape("vectors of one dimension", {"dimensions": lengths})


CODEC = EmbeddingsCodec(encode=encode, decode=decode)


def _decode_vector(vector: Any) -> list[float]:
    if isinstance(vector, str):
        return _decode_base64(vector)
    if not isinstance(vector, list) or not vector:
        raise wrong_shape("a list of numbers for each text", vector)
    # JSON's numbers are ints and floats already; converting each costs more than the check.
    types = set(map(type, vector))
    if types == {float}:
        return _check_finite(vector)
    if types <= {float, int}:
        try:
            return _check_finite(list(map(float, vector)))
        except OverflowError:
            raise wrong_shape("numbers of 64 bits in its vectors", vector) from None
    raise wrong_shape("numbers in its vectors", vector)


def _check_finite(vector: list[float]) -> list[float]:
    # The sum is finite unless a number is not, or numbers near the limit of floats overflow.
    if math.isfinite(sum(vector)) or all(map(math.isfinite, vector)):
        return vector
    # A vector index would store it, and return it for each query or none.
    raise wrong_shape("finite numbers in its vectors, not NaN or Infinity", vector)


def _decode_base64(text: str) -> list[float]:
    try:
        floats = array("f", base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError) as error:
        raise wrong_shape("base64 of 32-bit floats", text) from error
    if sys.byteorder == "big":
        floats.byteswap()
    if not floats:
        raise wrong_shape("a vector for each text", text)
    return _check_finite(floats.tolist())
