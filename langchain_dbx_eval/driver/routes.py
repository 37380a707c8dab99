"""What the app answers: thin views over the pure functions of `schema`, and one form of error."""

from __future__ import annotations

import logging
import uuid

from flask import Flask, Response, g, jsonify, request
from werkzeug.exceptions import HTTPException

from langchain_dbx_eval.driver.engine import Engine
from langchain_dbx_eval.driver.keys import KEY_HEADER, KEY_VARIABLE, key_matches
from langchain_dbx_eval.driver.schema import RequestError, decode, parse

__all__ = ["add_error_form", "add_key_check", "add_request_ids", "add_routes"]

_log = logging.getLogger(__name__)

_HTTP_ERRORS = {
    404: ("ENDPOINT_NOT_FOUND", "There is only POST / (complete a prompt) and GET /health here."),
    405: ("METHOD_NOT_ALLOWED", "This path takes another method: see the Allow header."),
    413: ("REQUEST_TOO_LARGE", "The body is longer than this server takes: send a shorter prompt."),
}


def add_routes(app: Flask, engine: Engine) -> None:
    """Serve the engine at ``POST /``, and say at ``GET /health`` that the server is up."""

    @app.post("/")
    def complete() -> Response:
        # A web page may post text/plain to any host without asking; JSON it may not.
        if request.mimetype != "application/json":
            message = "Send JSON, with the header 'Content-Type: application/json'."
            raise RequestError(415, "UNSUPPORTED_MEDIA_TYPE", message)
        payload = decode(request.get_data())
        generation = engine.generate(parse(payload, engine.parameters))
        return jsonify(generation.text)

    @app.get("/health")
    def health() -> Response:
        return jsonify(status="ok")


def add_key_check(app: Flask, key: str | None) -> None:
    """Refuse what does not carry the key, before anything is told about the path asked for."""
    if key is None:
        return

    @app.before_request
    def check() -> None:
        given = request.headers.get(KEY_HEADER, "")
        if request.endpoint != "health" and not key_matches(given, key):
            message = (
                f"The {KEY_HEADER} header is missing or wrong. LangChain clients send "
                f"driver_api_key=..., or {KEY_VARIABLE}; the server uses the key it was given, "
                "or printed when it was made."
            )
            raise RequestError(401, "UNAUTHENTICATED", message)


def add_request_ids(app: Flask) -> None:
    """Give each request an id, which its answer and the log share."""

    @app.before_request
    def assign() -> None:
        g.request_id = uuid.uuid4().hex

    @app.after_request
    def show(response: Response) -> Response:
        response.headers["X-Request-Id"] = g.request_id
        return response


def add_error_form(app: Flask) -> None:
    """Answer every error with ``{"error_code": ..., "message": ...}`` and the right status."""

    @app.errorhandler(RequestError)
    def refused(error: RequestError) -> tuple[Response, int]:
        return _form(error.error_code, error.message), error.status

    @app.errorhandler(HTTPException)
    def not_served(error: HTTPException) -> tuple[Response, int, list[tuple[str, str]]]:
        status = error.code or 500
        fallback = (error.name.upper().replace(" ", "_"), error.description or error.name)
        allow = [header for header in error.get_headers() if header[0] == "Allow"]
        return _form(*_HTTP_ERRORS.get(status, fallback)), status, allow

    @app.errorhandler(Exception)
    def failed(error: Exception) -> tuple[Response, int]:
        # The text of an exception may hold paths, prompts or secrets: it stays on this side.
        _log.error("Request %s failed", g.request_id, exc_info=error)
        message = f"The model failed. The server's log says why, at request {g.request_id}."
        return _form("INTERNAL_ERROR", message), 500


def _form(error_code: str, message: str) -> Response:
    return jsonify(error_code=error_code, message=message)
