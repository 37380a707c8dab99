"""Finds the record of a dataset to which a call belongs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any
from uuid import UUID

from langchain_core.messages import BaseMessage, convert_to_messages, convert_to_openai_messages

from langchain_dbx_eval._internal.log import get_logger
from langchain_dbx_eval.datasets import EvalRecord, record_key
from langchain_dbx_eval.evaluation.capture.spans import CapturedRun

__all__ = ["MatchFn", "RecordIndex"]

MatchFn = Callable[[CapturedRun], str | None]
"""Returns the `request_id` of a call's record; None if the call has no record."""

_logger = get_logger(__name__)
_NONE_MATCHED: Mapping[int, int] = MappingProxyType({})


class RecordIndex:
    """The records of a dataset, indexed by id and by request.

    Args:
        records: The records. Several may have the same id or the same request.
        match_fn: Called if neither ``metadata["request_id"]`` nor the input matches a record.

    Attributes:
        records: The records in their order.
        match_failures: How often `match_fn` raised; each error is logged.
    """

    def __init__(self, records: Sequence[EvalRecord], *, match_fn: MatchFn | None = None) -> None:
        self.records = records
        self.match_failures = 0
        self._match_fn = match_fn
        self._by_id: dict[str, list[int]] = {}
        self._by_key: dict[str, list[int]] = {}
        for number, record in enumerate(records):
            self._by_id.setdefault(record.request_id, []).append(number)
            self._by_key.setdefault(record_key(record.request), []).append(number)
        # After all exact requests: these take precedence over equivalent ones.
        exact = frozenset(self._by_key)
        for number, record in enumerate(records):
            for key in map(record_key, _equivalent_requests(record.request)):
                if key not in exact:
                    self._by_key.setdefault(key, []).append(number)

    def find(self, run: CapturedRun, matched: Mapping[int, int] = _NONE_MATCHED) -> int | None:
        """Return the index of the record of a call; None if there is none.

        In this order: ``metadata["request_id"]``, if it is the id of a record; the input, by the
        key that MLflow's datasets use; `match_fn`.

        Args:
            run: The call.
            matched: How often each record was found before. Of several records with the same id or
                the same request, the first of those that were found least often is returned.
        """
        found = (
            self._by_id.get(_id_text(run.metadata.get("request_id")))
            or self._find_input(run.request)
            or self._call_match_fn(run)
        )
        return min(found, key=lambda number: matched.get(number, 0)) if found else None

    def _find_input(self, request: Any) -> list[int] | None:
        if not self._by_key:
            return None
        keys = map(record_key, (request, *_equivalent_requests(request)))
        return next((self._by_key[key] for key in keys if key in self._by_key), None)

    def _call_match_fn(self, run: CapturedRun) -> list[int] | None:
        if self._match_fn is None:
            return None
        try:
            return self._by_id.get(_id_text(self._match_fn(run)))
        except Exception:
            self.match_failures += 1
            _logger.exception("match_fn failed for a call; the call is evaluated without a record.")
            return None


def _equivalent_requests(request: Any) -> Iterator[Any]:
    """Yield the other forms in which a record may contain the input of a chain.

    A string is equivalent to one user message, and to a dict that contains nothing but the string.
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
    """Return an id as a string; the empty string, which is not the id of any record, for others."""
    return str(value) if isinstance(value, str | int | UUID) else ""
