"""What a function returns, and the checks that the server applies to it.

A model with constrained decoding follows `response_format` and `tool_choice` by itself. The result
of a function is checked instead: one that violates them is an error, not an answer.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from pydantic_core import SchemaError, SchemaValidator, core_schema

from langchain_dbx_eval._internal.imports import require
from langchain_dbx_eval.driver.engines.base import Delta, Generation
from langchain_dbx_eval.driver.errors import RequestError, invalid
from langchain_dbx_eval.errors import InvalidResponseError, MissingDependencyError

__all__ = ["ResultChecks", "to_delta"]

_MESSAGE_KEYS = {"role", "content", "tool_calls"}


def to_delta(result: object, function: str, calls: int = 0) -> Delta:
    """Convert what a function returned or yielded.

    Args:
        result: A string; a message of OpenAI's chat API, such as ``{"content": None,
            "tool_calls": […]}``; a `Generation`; or a `Delta`.
        function: The name of the function, for the error.
        calls: The number of tool calls that it yielded before.

    Raises:
        InvalidResponseError: The result is none of them.
    """
    if isinstance(result, str):
        return Delta(result)
    if isinstance(result, Delta):
        return result
    if isinstance(result, Generation):
        counts = result.prompt_tokens, result.completion_tokens
        tool_calls = _tool_calls(result.tool_calls, calls)
        return Delta(result.text, result.finish_reason, *counts, tool_calls, result.logprobs)
    if isinstance(result, Mapping):
        content, tool_calls = result.get("content"), result.get("tool_calls") or ()
        unknown = [key for key in result if key not in _MESSAGE_KEYS and result[key]]
        if not unknown and isinstance(content, str | None) and (content is not None or tool_calls):
            try:
                return Delta(content or "", tool_calls=_tool_calls(tool_calls, calls))
            except (AttributeError, KeyError, TypeError, ValueError):
                pass
    msg = (
        f"{function} returned {type(result).__name__}, not str: return the completion, a message "
        '{"content": …, "tool_calls": [{"function": {"name": …, "arguments": …}}]}, or a '
        "Generation."
    )
    raise InvalidResponseError(msg)


def _tool_calls(calls: Sequence[Mapping[str, Any]], start: int) -> tuple[Mapping[str, Any], ...]:
    """Return tool calls in OpenAI's form, also those in LangChain's: ``{"name", "args", "id"}``."""
    return tuple(_tool_call(call, index) for index, call in enumerate(calls, start))


def _tool_call(call: Mapping[str, Any], index: int) -> dict[str, Any]:
    function = call.get("function") or call
    arguments = function.get("arguments", function.get("args", {}))
    if not isinstance(arguments, str):
        arguments = json.dumps(arguments, ensure_ascii=False)
    return {
        "index": index,
        "id": call.get("id") or f"call_{secrets.token_hex(12)}",
        "type": "function",
        "function": {"name": function["name"], "arguments": arguments},
    }


class ResultChecks:
    """The parameters of a request that a function does not take, applied to its result.

    Args:
        params: ``response_format``, ``tool_choice`` and ``parallel_tool_calls``, each optional.

    Raises:
        RequestError: 400, for a value that cannot be checked.
    """

    def __init__(self, params: Mapping[str, Any]) -> None:
        self._tool_choice = params.get("tool_choice")
        if isinstance(self._tool_choice, Mapping):
            function = self._tool_choice.get("function")
            self._tool = function.get("name") if isinstance(function, Mapping) else None
            if not isinstance(self._tool, str):
                example = '{"type": "function", "function": {"name": …}}'
                raise invalid(f"'tool_choice' must be a string, or {example}.")
        else:
            self._tool = None
        self._one_call = params.get("parallel_tool_calls") is False
        response_format = params.get("response_format") or {"type": "text"}
        kind = response_format["type"]
        if kind not in ("text", "json_object", "json_schema"):
            raise invalid("'response_format.type' must be 'text', 'json_object' or 'json_schema'.")
        self._json: bool = kind != "text"
        self._validator = _validator(response_format) if kind == "json_schema" else None
        self.buffers = self._json or self._tool is not None or self._tool_choice == "required"
        """Whether the result must be complete before any of it is sent."""

    def check(self, generation: Generation) -> None:
        """Check a complete result.

        Raises:
            RequestError: 500; the message names the violated parameter.
        """
        names = [call["function"]["name"] for call in generation.tool_calls]
        if self._tool_choice == "none" and names:
            raise _violation(f"tool_choice 'none': it called {names[0]!r}")
        if self._tool_choice == "required" and not names:
            raise _violation("tool_choice 'required': it called no tool")
        if self._tool is not None and set(names) != {self._tool}:
            raise _violation(f"tool_choice: it called {names or 'no tool'}, not {self._tool!r}")
        if self._one_call and len(names) > 1:
            raise _violation(f"parallel_tool_calls=false: it called {len(names)} tools")
        # As in OpenAI's API, text that reached its maximum length is returned as it is.
        if self._json and not names and generation.finish_reason != "length":
            self._check_json(generation.text)

    def _check_json(self, text: str) -> None:
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            raise _violation("response_format: its text is not JSON") from None
        if self._validator is None:
            if not isinstance(value, dict):
                raise _violation("response_format 'json_object': its text is not an object")
            return
        jsonschema = require("jsonschema", extra="scorers")
        try:
            error = jsonschema.exceptions.best_match(self._validator.iter_errors(value))
        except (RecursionError, jsonschema.exceptions._WrappedReferencingError):
            # The latter: a $ref that is not in the schema, which is never fetched.
            reason = "'response_format.json_schema.schema' has a $ref that cannot be resolved."
            raise invalid(reason) from None
        if error is not None:
            raise _violation(f"response_format: {error.json_path}: {error.message[:300]}")


def _validator(response_format: Mapping[str, Any]) -> Any:
    schema = response_format.get("json_schema", {}).get("schema")
    if schema is None:
        raise invalid("'response_format.json_schema.schema' is missing: send a JSON schema.")
    try:
        jsonschema = require("jsonschema", extra="scorers")
        referencing = require("referencing", extra="scorers")
    except MissingDependencyError as error:
        message = (
            f"'response_format' of type 'json_schema' is not available on this server. {error}"
        )
        raise invalid(message) from None
    # The class of a "$schema" that is unknown is the default.
    kind = jsonschema.validators.validator_for(schema, jsonschema.Draft202012Validator)
    try:
        kind.check_schema(schema)
        if isinstance(schema, dict):
            schema = {key: value for key, value in schema.items() if key != "$schema"}
        _check_patterns(schema)
    except (jsonschema.exceptions.SchemaError, RecursionError) as error:
        reason = getattr(error, "message", "it is nested too deeply")[:300]
        raise invalid(f"'response_format.json_schema.schema' is not a schema: {reason}") from None
    kind = jsonschema.validators.extend(kind, {"pattern": _check_pattern})
    # An empty registry: by default a "$ref" to another host would be fetched.
    return kind(schema, registry=referencing.Registry())


def _check_patterns(schema: Any) -> None:
    """Reject what would be matched by Python's `re`, which may take years for a short text.

    jsonschema (4.26) uses it for ``patternProperties``, and below a ``$schema``, for which it
    changes the class of the validator.

    Raises:
        RequestError: 400; the message names the keyword.
    """
    name = "'response_format.json_schema.schema' has"
    if isinstance(schema, list):
        for item in schema:
            _check_patterns(item)
    if not isinstance(schema, dict):
        return
    if isinstance(schema.get("$schema"), str):
        raise invalid(f"{name} '$schema' in a subschema, which is not supported.")
    if "patternProperties" in schema:
        raise invalid(f"{name} 'patternProperties', which is not supported.")
    if isinstance(pattern := schema.get("pattern"), str):
        try:
            _matcher(pattern)
        except SchemaError as error:
            reason = str(error).rpartition("rror: ")[2].rstrip(".")
            text = f"{name} the 'pattern': {pattern[:100]!r} is not supported: {reason}."
            raise invalid(text) from None
    for value in schema.values():
        _check_patterns(value)


def _check_pattern(_: Any, pattern: str, text: Any, __: Any) -> Iterator[Exception]:
    """Check a text as jsonschema's ``pattern`` does, in linear time."""
    jsonschema = require("jsonschema", extra="scorers")
    if isinstance(text, str) and not _matcher(pattern).isinstance_python(text):
        yield jsonschema.ValidationError(f"{text!r} does not match {pattern!r}")


@lru_cache(maxsize=8)  # up to 10 MB each
def _matcher(pattern: str) -> SchemaValidator:
    """Return pydantic's matcher, whose regular expressions (of Rust) take linear time."""
    return SchemaValidator(core_schema.str_schema(pattern=pattern, regex_engine="rust-regex"))


def _violation(what: str) -> RequestError:
    message = f"The result of the function on this server violates {what}."
    return RequestError(500, "INVALID_MODEL_OUTPUT", message)
