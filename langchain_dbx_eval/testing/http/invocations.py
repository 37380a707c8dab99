"""Answers a query of a serving endpoint, with the faults that were asked of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from flask import Request, Response

from langchain_dbx_eval.testing.errors import Refusal, bad_request, invalid_parameter
from langchain_dbx_eval.testing.serving import (
    chat,
    chat_agent,
    completions,
    custom,
    embeddings,
    responses,
)
from langchain_dbx_eval.testing.serving.endpoints import Endpoint, EndpointKind
from langchain_dbx_eval.testing.serving.faults import BrokenBody, CutStream, Failure
from langchain_dbx_eval.testing.serving.llm import EventStream
from langchain_dbx_eval.testing.state import WorkspaceState

__all__ = ["find_endpoint", "json_body", "query", "query_by_model", "to_json"]

_ANSWERS: dict[EndpointKind, Callable[[Endpoint, dict[str, Any]], dict[str, Any] | EventStream]] = {
    "custom": custom.answer,
    "chat": chat.answer,
    "completions": completions.answer,
    "embeddings": embeddings.answer,
    "responses": responses.answer,
    "chat_agent": chat_agent.answer,
}
_STREAMING: frozenset[EndpointKind] = frozenset({"chat", "completions", "responses", "chat_agent"})


def find_endpoint(site: WorkspaceState, name: str) -> Endpoint:
    """The endpoint of this name.

    Raises:
        Refusal: There is none; the wording is from dbdemos issue 220.
    """
    try:
        return site.endpoints[name]
    except KeyError:
        message = f"Endpoint with name '{name}' does not exist."
        raise Refusal(404, "RESOURCE_DOES_NOT_EXIST", message) from None


def query(site: WorkspaceState, endpoint: Endpoint, request: Request) -> Response:
    """Answer a query, or fail it as planned."""
    body = _json_object(request)
    streaming = endpoint.kind in _STREAMING and body.get("stream") is True
    fault = _meet_faults(site, endpoint, streaming=streaming)
    answer = _ANSWERS[endpoint.kind](endpoint, body)
    if isinstance(answer, EventStream):
        return _event_response(answer, fault)
    text = to_json(answer)
    if isinstance(fault, BrokenBody):
        text = _half(text)
    return Response(text, mimetype="application/json")


def query_by_model(site: WorkspaceState, kind: EndpointKind, request: Request) -> Response:
    """Answer a query that names its endpoint in the body, as OpenAI's clients do."""
    name = _json_object(request).get("model")
    if not isinstance(name, str):
        raise invalid_parameter("Missing required parameter: 'model'")
    endpoint = find_endpoint(site, name)
    if endpoint.kind != kind:
        raise bad_request(f"Endpoint '{name}' does not serve this task.")
    return query(site, endpoint, request)


def json_body(request: Request) -> Any:
    """The decoded body, or None where it is empty or not JSON."""
    try:
        return json.loads(request.get_data())
    except (ValueError, RecursionError):
        return None


def to_json(payload: Any) -> str:
    """JSON in UTF-8, as Databricks sends it, not escaped to ASCII."""
    return json.dumps(payload, ensure_ascii=False)


def _json_object(request: Request) -> dict[str, Any]:
    body = json_body(request)
    if not isinstance(body, dict):
        raise bad_request("Bad request: the body must be a JSON object.")
    return body


def _meet_faults(
    site: WorkspaceState, endpoint: Endpoint, *, streaming: bool
) -> BrokenBody | CutStream | None:
    """Wait or fail if that is planned, and say how the answer is to be spoilt."""
    if delay := site.faults.take_delay(endpoint.name):
        site.closing.wait(delay.seconds)
    fault = site.faults.take_spoiler(endpoint.name, streaming=streaming)
    if isinstance(fault, Failure):
        raise fault.refusal(endpoint.name)
    return fault


def _half(text: str) -> str:
    return text[: len(text) // 2]


def _event_response(stream: EventStream, fault: BrokenBody | CutStream | None) -> Response:
    payloads = [to_json(event) for event in stream.events]
    if isinstance(fault, BrokenBody):
        payloads[0] = _half(payloads[0])
    cut_after = fault.after if isinstance(fault, CutStream) else None
    return Response(_events(payloads, cut_after), mimetype="text/event-stream")


def _events(payloads: list[str], cut_after: int | None) -> Iterator[bytes]:
    for payload in payloads[:cut_after]:
        yield f"data: {payload}\n\n".encode()
    if cut_after is not None:
        # To the server an OSError means: hang up without an end.
        raise ConnectionResetError
    yield b"data: [DONE]\n\n"
