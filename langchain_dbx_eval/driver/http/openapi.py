"""The server's own description, ``GET /openapi.json``: for people, code generators and fuzzers."""

from __future__ import annotations

from typing import Any

from langchain_dbx_eval._version import __version__
from langchain_dbx_eval.driver.engines.parameters import PARAMETERS
from langchain_dbx_eval.driver.http.auth import KEY_HEADER
from langchain_dbx_eval.driver.protocol.openai import (
    MAX_ANSWERS,
    MAX_INPUTS,
    MAX_STOP_LENGTH,
    MAX_STOPS,
)
from langchain_dbx_eval.driver.protocol.requests import Capabilities

__all__ = ["document"]

_JSON = "application/json"
_TEXT = {"type": "string"}
_STOPS = {
    "type": "array",
    "maxItems": MAX_STOPS,
    "items": {"type": "string", "minLength": 1, "maxLength": MAX_STOP_LENGTH},
}
_STATUSES = {
    "400": "The request is wrong; the message names the field.",
    "401": f"The header {KEY_HEADER} is missing or wrong.",
    "404": "The path, or what it asks of the engine, is not served.",
    "413": "The body is too long.",
    "415": "The body is not application/json.",
    "422": "The engine cannot take this request.",
    "429": "All places are taken; Retry-After says when to come back.",
    "500": "The model failed; the message has the request's id in the server's log.",
    "502": "The upstream server failed.",
    "503": "The server is stopping, or its engine does not answer.",
    "504": "The answer was not ready in time.",
}


def document(takes: Capabilities) -> dict[str, Any]:
    """Describe the server in OpenAPI 3.1.

    Args:
        takes: What its engine takes.

    Returns:
        The document's JSON value.
    """
    return {
        "openapi": "3.1.0",
        "info": {"title": "langchain-dbx-eval driver server", "version": __version__},
        "security": [{"key": []}],
        "components": {
            "securitySchemes": {"key": {"type": "apiKey", "in": "header", "name": KEY_HEADER}},
            "schemas": {"Error": _ERROR},
        },
        "paths": {
            "/": _post("Complete a prompt, continue a conversation or embed texts", _any(takes)),
            "/invocations": _post("MLflow's scoring protocol", _invocations(takes)),
            "/v1/chat/completions": _post("Continue a conversation", _chat(takes)),
            "/v1/completions": _post("Complete prompts", _completion(takes)),
            "/v1/embeddings": _post("Embed texts", _embeddings()),
            "/health": _get("Whether the engine can answer"),
            "/metrics": _get("Counts for Prometheus", "text/plain"),
            "/v1/models": _get("The model that is served"),
        },
    }


_ERROR = {
    "type": "object",
    "properties": {"error_code": _TEXT, "message": _TEXT},
    "required": ["error_code", "message"],
}


def _post(summary: str, schema: dict[str, Any]) -> dict[str, Any]:
    body = {"required": True, "content": {_JSON: {"schema": schema}}}
    answer = {"description": "The answer.", "content": {_JSON: {}, "text/event-stream": {}}}
    error = {"schema": {"$ref": "#/components/schemas/Error"}}
    errors = {
        status: {"description": text, "content": {_JSON: error}}
        for status, text in _STATUSES.items()
    }
    return {
        "post": {"summary": summary, "requestBody": body, "responses": {"200": answer, **errors}}
    }


def _get(summary: str, content_type: str = _JSON) -> dict[str, Any]:
    answer = {"description": "The answer.", "content": {content_type: {}}}
    refused = {"description": _STATUSES["401"]}
    down = {"description": _STATUSES["503"]}
    return {"get": {"summary": summary, "responses": {"200": answer, "401": refused, "503": down}}}


def _object(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


def _params(takes: Capabilities) -> dict[str, Any]:
    known = {
        name: {
            "type": "integer" if PARAMETERS[name].whole else "number",
            "minimum": PARAMETERS[name].low,
            "maximum": PARAMETERS[name].high,
        }
        for name in takes.parameters & PARAMETERS.keys()
    }
    return {**{name: {} for name in takes.parameters - PARAMETERS.keys()}, **known}


def _openai(takes: Capabilities) -> dict[str, Any]:
    return {
        **_params(takes),
        "model": _TEXT,
        "n": {"type": "integer", "minimum": 1, "maximum": MAX_ANSWERS},
        "stop": {"anyOf": [_TEXT, _STOPS]},
        "stream": {"type": "boolean"},
        "stream_options": _object({"include_usage": {"type": "boolean"}}),
    }


def _prompt(takes: Capabilities) -> dict[str, Any]:
    return _object({"prompt": _TEXT, "stop": _STOPS, **_params(takes)}, "prompt")


def _chat(takes: Capabilities) -> dict[str, Any]:
    roles = {"enum": ["system", "developer", "user", "assistant", "tool"]}
    message = {
        "type": "object",
        "properties": {"role": roles, "content": _TEXT},
        "required": ["role", "content"],
    }
    messages = {"type": "array", "minItems": 1, "items": message}
    return _object({"messages": messages, **_openai(takes)}, "messages")


def _completion(takes: Capabilities) -> dict[str, Any]:
    texts = {"type": "array", "minItems": 1, "maxItems": MAX_ANSWERS, "items": _TEXT}
    return _object({"prompt": {"anyOf": [_TEXT, texts]}, **_openai(takes)}, "prompt")


def _embeddings() -> dict[str, Any]:
    texts = {"type": "array", "minItems": 1, "maxItems": MAX_INPUTS, "items": _TEXT}
    encodings = {"enum": ["float", "base64"]}
    properties = {"input": {"anyOf": [_TEXT, texts]}, "model": _TEXT, "encoding_format": encodings}
    return _object(properties, "input")


def _any(takes: Capabilities) -> dict[str, Any]:
    return {"anyOf": [_prompt(takes), _chat(takes), _embeddings()]}


def _invocations(takes: Capabilities) -> dict[str, Any]:
    rows = {"type": "array", "minItems": 1, "maxItems": MAX_ANSWERS, "items": _prompt(takes)}
    split = _object({"columns": {"type": "array", "items": _TEXT}, "data": {"type": "array"}})
    params = {"type": "object"}
    return {
        "anyOf": [
            _object({"dataframe_records": rows, "params": params}, "dataframe_records"),
            _object({"dataframe_split": split, "params": params}, "dataframe_split"),
            _object({"instances": rows, "params": params}, "instances"),
            _object({"inputs": rows, "params": params}, "inputs"),
            _chat(takes),
            _completion(takes),
        ]
    }
