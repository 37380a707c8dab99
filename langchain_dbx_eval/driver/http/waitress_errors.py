"""What waitress itself refuses, in the one form of error. Imports waitress."""

from __future__ import annotations

import json

from waitress.channel import HTTPChannel
from waitress.task import ErrorTask

__all__ = ["JsonErrorChannel"]

_CODES = {
    400: "MALFORMED_REQUEST",
    413: "REQUEST_TOO_LARGE",
    431: "REQUEST_TOO_LARGE",
    501: "NOT_IMPLEMENTED",
}


class _JsonErrorTask(ErrorTask):
    """Answers what no app sees: a body or headers over the limit, or bytes that are no HTTP."""

    def execute(self) -> None:
        error = self.request.error
        code = _CODES.get(error.code, "INTERNAL_ERROR")
        # A 500's text is a traceback where waitress is told to show it: it stays on this side.
        said = f": {error.body}" if error.code in _CODES else ""
        body = json.dumps({"error_code": code, "message": f"{error.reason}{said}."}).encode()
        self.status = f"{error.code} {error.reason}"
        self.response_headers.append(("Content-Type", "application/json"))
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)


class JsonErrorChannel(HTTPChannel):
    """A connection whose refusals are ``{"error_code", "message"}``."""

    error_task_class = _JsonErrorTask
