"""Finds the record of a dataset that a call of a chain is about."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from uuid import UUID

from langchain_core.messages import BaseMessage, convert_to_messages, convert_to_openai_messages

from langchain_dbx_eval.datasets import EvalRecord, record_key
from langchain_dbx_eval.evaluation.capture.recorder import CapturedRun

__all__ = ["MatchFn", "RecordIndex"]

MatchFn = Callable[[CapturedRun], str | None]
"""A user's own rule: a call's `request_id`, or None."""

_logger = logging.getLogger(__name__)


class RecordIndex:
    """The records of a dataset, by their ids and by what was asked.

    Args:
        records: The records; of those with the same id or the same request, the first is found.
        match_fn: Asked where neither ``metadata["request_id"]`` nor the input finds a record.

    Attributes:
        records: The records, in their order.
    """

    def __init__(self, records: Sequence[EvalRecord], *, match_fn: MatchFn | None = None) -> None:
        self.records = records
        self._match_fn = match_fn
        self._by_id: dict[str, int] = {}
        self._by_key: dict[str, int] = {}
        for number, record in enumerate(records):
            self._by_id.setdefault(record.request_id, number)
            self._by_key.setdefault(record_key(record.request), number)
        # What is asked in other words comes after what is asked in just these.
        for number, record in enumerate(records):
            for form in _further_forms(record.request):
                self._by_key.setdefault(record_key(form), number)
        self.match_failures = 0
        """How often `match_fn` raised; each is logged."""

    def find(self, run: CapturedRun) -> int | None:
        """The place of the call's record, or None.

        ``metadata["request_id"]`` decides where it names a record; else the input, by the key under
        which MLflow's datasets hold a record; else the user's function.
        """
        by_id = self._by_id.get(_id_text(run.metadata.get("request_id")))
        if by_id is not None:
            return by_id
        by_input = self._by_input(run.request)
        return by_input if by_input is not None else self._by_match_fn(run)

    def _by_input(self, request: Any) -> int | None:
        if not self._by_key:
            return None
        for form in (request, *_further_forms(request)):
            if (number := self._by_key.get(record_key(form))) is not None:
                return number
        return None

    def _by_match_fn(self, run: CapturedRun) -> int | None:
        if self._match_fn is None:
            return None
        try:
            return self._by_id.get(_id_text(self._match_fn(run)))
        except Exception:
            self.match_failures += 1
            _logger.exception("`match_fn` failed for a call; it is taken as one of no record.")
            return None


def _further_forms(request: Any) -> Iterator[Any]:
    """The other ways in which a record may hold what a chain is given.

    A text stands for a message of the user, and for a dict that has nothing but that text.
    """
    if isinstance(request, dict) and len(request) == 1:
        [(name, value)] = request.items()
        if isinstance(value, str):
            yield value
        if name != "messages":
            return
        request = value
    if isinstance(request, list | tuple) and (messages := _openai_messages(request)):
        yield {"messages": messages}
        if len(messages) == 1 and isinstance(text := messages[0].get("content"), str):
            yield text


def _openai_messages(values: Sequence[Any]) -> list[dict[str, Any]]:
    if not all(isinstance(value, BaseMessage | dict | tuple | list) for value in values):
        return []
    try:
        messages = convert_to_openai_messages(convert_to_messages(values))
    except (ValueError, TypeError, NotImplementedError):
        return []  # a list of something else
    return messages if isinstance(messages, list) else [messages]


def _id_text(value: Any) -> str:
    """An id as records hold it; the empty one, which no record has, for what is none."""
    return str(value) if isinstance(value, str | int | UUID) else ""
