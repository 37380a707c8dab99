"""From the bytes of a request to a `GenerationRequest`, or to the error that the client is told.

Pure functions: no sockets, no web framework.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any, NoReturn

from langchain_dbx_eval.driver.engine import GenerationRequest

__all__ = ["MAX_STOPS", "RequestError", "decode", "parse"]

MAX_STOPS = 16
"""Each stop is searched for in each completion, so their number is bounded."""


class RequestError(Exception):
    """A request is refused. It becomes the answer, so its message is written for the client.

    Args:
        status: The HTTP status, 4xx.
        error_code: What went wrong, in one of Databricks' words such as ``MALFORMED_REQUEST``.
        message: What to change. Never text of another exception.
    """

    def __init__(self, status: int, error_code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.error_code = error_code
        self.message = message


def decode(body: bytes) -> object:
    """Decode a request body, strictly: what two JSON readers could understand differently fails.

    Args:
        body: JSON in UTF-8.

    Returns:
        The value, in which every float is finite and every string can be encoded in UTF-8.

    Raises:
        RequestError: 400, for anything else: not JSON, ``NaN``, a key given twice, a lone
            surrogate, or more nesting than Python can read.
    """
    try:
        payload: object = json.loads(
            body.decode("utf-8"),
            object_pairs_hook=_unique_keys,
            parse_constant=_refuse_number,
            parse_float=_finite,
        )
        # "\ud800" is legal JSON, but no text: tokenizers, files and logs fail on it later.
        json.dumps(payload, ensure_ascii=False).encode("utf-8")
    except RecursionError:
        raise _malformed("The body is nested too deeply.") from None
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise _malformed(f"The body is not valid JSON: see {place}.") from None
    except UnicodeEncodeError:
        raise _malformed("A string in the body has half of a surrogate pair.") from None
    except ValueError:  # not UTF-8, or an integer longer than Python converts (4,300 digits)
        raise _malformed("The body is not JSON in UTF-8 with numbers of a usable size.") from None
    return payload


def parse(payload: object, allowed: frozenset[str]) -> GenerationRequest:
    """Check a decoded ``POST /`` body against the documented contract.

    The contract is the LangChain documentation's for driver proxy apps:
    ``{"prompt": str, "stop"?: [str], **params}``.

    Args:
        payload: The decoded JSON.
        allowed: Names of the parameters that the engine takes beside ``prompt`` and ``stop``.

    Returns:
        The request, which holds nothing but what was allowed.

    Raises:
        RequestError: 400; the message names the field, and for an unknown one those allowed.
    """
    if not isinstance(payload, dict):
        raise _malformed('The body must be a JSON object such as {"prompt": "Hello"}.')
    if "prompt" not in payload:
        raise _invalid("'prompt' is missing: send the text to complete.")
    if not isinstance(payload["prompt"], str):
        raise _invalid(f"'prompt' must be a string, not {_json_type(payload['prompt'])}.")
    params = {name: value for name, value in payload.items() if name not in ("prompt", "stop")}
    _refuse_unknown(params, allowed)
    return GenerationRequest(payload["prompt"], _stops(payload.get("stop")), params)


def _stops(value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, str):
        raise _invalid("'stop' must be a list of strings: send it as [\"...\"].")
    if not isinstance(value, list) or not all(isinstance(stop, str) for stop in value):
        raise _invalid("'stop' must be a list of strings, or null.")
    if not all(value):
        raise _invalid("'stop' holds an empty string, which would end every completion at once.")
    if len(value) > MAX_STOPS:
        raise _invalid(f"'stop' holds {len(value)} strings; at most {MAX_STOPS} are taken.")
    return tuple(value)


def _refuse_unknown(names: Iterable[str], allowed: frozenset[str]) -> None:
    for name in names:
        if name not in allowed:
            known = ", ".join(["prompt", "stop", *sorted(allowed)])
            # A name may be as long as the body; the message is not.
            raise _invalid(f"Unknown parameter {name[:80]!r}. This server takes: {known}.")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise _malformed("A key appears twice in one object of the body.")
    return values


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):  # 1e999
        _refuse_number(text)
    return value


def _refuse_number(text: str) -> NoReturn:
    raise _malformed(f"The number {text[:80]} in the body is not finite.")


def _json_type(value: object) -> str:
    names = {bool: "a boolean", dict: "an object", list: "a list", type(None): "null"}
    return names.get(type(value), "a number")


def _malformed(message: str) -> RequestError:
    return RequestError(400, "MALFORMED_REQUEST", message)


def _invalid(message: str) -> RequestError:
    return RequestError(400, "INVALID_PARAMETER_VALUE", message)
