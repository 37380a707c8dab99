"""Datasets made of another: a filter, a sample, a part of a split. They stream as it does."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from langchain_dbx_eval.datasets.open_dataset import DatasetInfo, OpenDataset
from langchain_dbx_eval.datasets.record import EvalRecord, record_key
from langchain_dbx_eval.errors import ConfigurationError

__all__ = ["Derived", "part_of", "sample_keys"]

_SCALE = float(1 << 64)


class Derived(OpenDataset):
    """The records of a dataset that pass a test.

    Args:
        parent: Where they come from.
        records: Its records, anew for each pass.
        keep: The test.
        how: What was done to the parent, in words.
    """

    def __init__(
        self,
        parent: OpenDataset,
        records: Callable[[], Iterator[EvalRecord]],
        keep: Callable[[EvalRecord], bool],
        how: str,
    ) -> None:
        self._parent = parent
        self._records = records
        self._keep = keep
        self.name = parent.name
        self.backend = parent.backend
        self.version = parent.version
        self.description = f"{how} of {parent.description}"

    def rows(self) -> Iterator[EvalRecord]:
        """See `OpenDataset`."""
        return (record for record in self._records() if self._keep(record))

    def facts(self) -> DatasetInfo:
        """See `OpenDataset`."""
        return self._parent.facts()

    def schema(self) -> dict[str, str] | None:
        """See `OpenDataset`."""
        return self._parent.schema()

    def mlflow_source(self) -> Any:
        """See `OpenDataset`."""
        return self._parent.mlflow_source()


def sample_keys(records: Iterable[EvalRecord], n: int, seed: int) -> frozenset[str]:
    """The request ids of `n` records, chosen by hash: in whatever order, the same ones.

    Raises:
        ConfigurationError: `n` is negative.
    """
    if n < 0:
        msg = f"A sample has 0 or more records, not {n}."
        raise ConfigurationError(msg)
    ids = (record.request_id for record in records)
    return frozenset(heapq.nsmallest(n, ids, key=lambda id_: _position(id_, seed)))


def part_of(fractions: Mapping[str, float], seed: int) -> Callable[[EvalRecord], str]:
    """To which part of a split a record belongs.

    It is told by the hash of the record's inputs alone, so a record stays in its part when others
    are added, and records with the same inputs never lie in two parts.

    Args:
        fractions: The share of each part; they are scaled to a sum of 1.
        seed: Another seed is another split.

    Raises:
        ConfigurationError: There is no part, or a share is not above 0.
    """
    if not fractions or not all(share > 0 for share in fractions.values()):
        msg = f"Give each part a share above 0, such as {{'dev': 0.8, 'test': 0.2}}: {fractions}."
        raise ConfigurationError(msg)
    total = sum(fractions.values())

    def part(record: EvalRecord) -> str:
        at = _position(record_key(record.request), seed) * total
        for name, share in fractions.items():
            at -= share
            if at < 0:
                return name
        return name

    return part


def _position(key: str, seed: int) -> float:
    digest = hashlib.blake2b(f"{seed}:{key}".encode("utf-8", "surrogatepass"), digest_size=8)
    return int.from_bytes(digest.digest(), "big") / _SCALE
