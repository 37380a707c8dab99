"""The options of one HTTP request that are given among the parameters of the model.

Their names are those of OpenAI's Python client: ``extra_body``, ``extra_headers``, ``extra_query``
and ``timeout``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from langchain_dbx_eval._redaction import SECRET_HEADER, remember
from langchain_dbx_eval.client.credentials import header_value
from langchain_dbx_eval.errors import ConfigurationError

__all__ = ["NO_OPTIONS", "RequestOptions", "hide_secret_headers", "split_options"]

_NAMES = frozenset({"extra_body", "extra_headers", "extra_query", "timeout"})

_HIDDEN = "[redacted, SHA-256 "


@dataclass(frozen=True)
class RequestOptions:
    """The options of one HTTP request.

    Attributes:
        body: Fields of the JSON body, which are sent as they are.
        headers: Headers, which replace those of the same name. Excluded from `repr`, because they
            may contain keys.
        query: The query of the URL, encoded.
        timeout: Seconds for the call; None: the component's `timeout`.
    """

    body: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    query: str = ""
    timeout: float | None = None


NO_OPTIONS = RequestOptions()


def split_options(params: dict[str, Any]) -> tuple[dict[str, Any], RequestOptions]:
    """Separate the parameters of the model from the options of the request.

    Args:
        params: The parameters and options by name; not changed.

    Returns:
        The parameters, and the options.

    Raises:
        ConfigurationError: An option has a value of another type.
    """
    if _NAMES.isdisjoint(params):
        return params, NO_OPTIONS
    given = {name: params[name] for name in _NAMES if params.get(name) is not None}
    options = RequestOptions(
        body=_mapping("extra_body", given, "fields of the request's JSON body"),
        headers=_headers(given),
        query=_query(given),
        timeout=_timeout(given.get("timeout")),
    )
    return {name: value for name, value in params.items() if name not in _NAMES}, options


def hide_secret_headers(params: dict[str, Any]) -> dict[str, Any]:
    """Return parameters with a hash in place of each key in ``extra_headers``.

    With the hash, LangChain's caches still distinguish two keys.
    """
    headers = params.get("extra_headers")
    if not isinstance(headers, Mapping):
        return params
    hidden = {
        name: f"{_HIDDEN}{hashlib.sha256(str(value).encode()).hexdigest()[:12]}]"
        if SECRET_HEADER.search(str(name)) and not str(value).startswith(_HIDDEN)
        else value
        for name, value in headers.items()
    }
    return {**params, "extra_headers": hidden}


def _mapping(name: str, given: Mapping[str, Any], content: str) -> Mapping[str, Any]:
    value = given.get(name, {})
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return value
    msg = f"{name}= must be a dict of {content}, not {value!r}."
    raise ConfigurationError(msg)


def _headers(given: Mapping[str, Any]) -> dict[str, str]:
    headers = {}
    for name, value in _mapping("extra_headers", given, "HTTP headers").items():
        if not isinstance(value, str):
            # Without the value, which may be a key.
            msg = f"extra_headers[{name!r}] must be a string, not {type(value).__name__}."
            raise ConfigurationError(msg)
        if value.startswith(_HIDDEN):
            msg = f"extra_headers[{name!r}] is not stored with a component. Give it again."
            raise ConfigurationError(msg)
        sent = header_value(value, f"extra_headers[{name!r}]")
        if SECRET_HEADER.search(name):
            remember(sent.removeprefix("Bearer "))
        headers[header_value(name, "A name in extra_headers=")] = sent
    return headers


def _query(given: Mapping[str, Any]) -> str:
    query = _mapping("extra_query", given, "parameters of the URL")
    pairs = []
    for name, values in query.items():
        for value in values if isinstance(values, list | tuple) else [values]:
            if not isinstance(value, str | int | float):
                msg = f"extra_query[{name!r}] must be text or a number, not {value!r}."
                raise ConfigurationError(msg)
            pairs.append((name, str(value).lower() if isinstance(value, bool) else value))
    return urlencode(pairs)


def _timeout(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
        return value
    msg = (
        f"timeout= must be a positive number of seconds, not {value!r}. To send a field of that "
        "name to the model, give it in extra_body=."
    )
    raise ConfigurationError(msg)
