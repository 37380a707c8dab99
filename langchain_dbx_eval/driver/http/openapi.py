"""The description of the server, ``GET /openapi.json``, for users, code generators and fuzzers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from langchain_dbx_eval._version import __version__
from langchain_dbx_eval.driver.http.auth import KEY_HEADER
from langchain_dbx_eval.driver.protocol.formats import RequestFormat

if TYPE_CHECKING:
    from langchain_dbx_eval.driver.http.routes import Route

__all__ = ["EVENT_STREAM", "JSON", "description"]

JSON = "application/json"
EVENT_STREAM = "text/event-stream"

_POST_ERRORS = {
    "400": "The request is invalid; the message names the field.",
    "401": f"The header {KEY_HEADER} is missing or wrong.",
    "404": "The path does not exist, or the engine does not support the request.",
    "413": "The body is too long.",
    "415": "The body is not application/json.",
    "422": "The engine rejected the request.",
    "429": "All request slots are in use; see Retry-After.",
    "500": "The model failed; the message has the id of the request in the server's log.",
    "502": "The upstream server failed.",
    "503": "The server is stopping, or its engine cannot answer.",
    "504": "The result was not ready in time.",
}
_GET_ERRORS = {status: _POST_ERRORS[status] for status in ("401", "503")}
_TEXT = {"type": "string"}
_NAME = {"type": "string", "minLength": 1}
_ERROR = {
    "type": "object",
    "properties": {
        "error_code": _TEXT,
        "message": _TEXT,
        "error": {
            "type": "object",
            "properties": {
                "message": _TEXT,
                "type": _TEXT,
                "param": {"type": "null"},
                "code": _TEXT,
            },
            "required": ["message", "type", "param", "code"],
        },
    },
    "required": ["error_code", "message", "error"],
}


class _WithoutTitles(GenerateJsonSchema):
    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002
        return False


def description(routes: Sequence[Route], formats: Mapping[str, RequestFormat]) -> dict[str, Any]:
    """Describe the server in OpenAPI 3.1.

    Args:
        routes: All routes; those with a request format that the engine does not support are
            omitted.
        formats: The request format of each route with a body.

    Returns:
        The JSON value of the document.
    """
    every_model = dict.fromkeys(model for each in formats.values() for model in each.models)
    references, definitions = models_json_schema(
        [(model, "validation") for model in every_model],
        ref_template="#/components/schemas/{model}",
        schema_generator=_WithoutTitles,
    )
    paths = {}
    for route in routes:
        media_types, errors = [route.media_type], _GET_ERRORS
        operation: dict[str, Any] = {"summary": route.summary}
        if names := re.findall(r"{(\w+)}", route.path):
            operation["parameters"] = [
                {"name": name, "in": "path", "required": True, "schema": _NAME} for name in names
            ]
            errors = {**errors, "404": _POST_ERRORS["404"]}
        if not route.needs_key:
            operation["security"] = []
        if route.method == "POST":
            models = formats[route.path].models
            if not models:
                continue
            errors = _POST_ERRORS
            if any("stream" in model.model_fields for model in models):
                media_types.append(EVENT_STREAM)
            choices = [references[model, "validation"] for model in models]
            content = {JSON: {"schema": {"anyOf": choices}}}
            operation["requestBody"] = {"required": True, "content": content}
        operation["responses"] = _responses(media_types, errors)
        paths[route.path] = {route.method.lower(): operation}
    return {
        "openapi": "3.1.0",
        "info": {"title": "langchain-dbx-eval driver server", "version": __version__},
        "security": [{"key": []}],
        "components": {
            "securitySchemes": {"key": {"type": "apiKey", "in": "header", "name": KEY_HEADER}},
            "schemas": {**definitions.get("$defs", {}), "Error": _ERROR},
        },
        "paths": paths,
    }


def _responses(media_types: Sequence[str], errors: Mapping[str, str]) -> dict[str, Any]:
    success = {"description": "The result.", "content": {name: {} for name in media_types}}
    content = {JSON: {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {
        "200": success,
        **{status: {"description": text, "content": content} for status, text in errors.items()},
    }
