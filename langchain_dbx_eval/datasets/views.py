"""Filters, samples and splits: datasets that stream the records of another one."""

from __future__ import annotations

import hashlib
import heapq
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from langchain_dbx_eval.datasets.base import DatasetInfo, OpenDataset, check_count, is_number
from langchain_dbx_eval.datasets.record import EvalRecord, describe_value, record_key
from langchain_dbx_eval.errors import ConfigurationError

__all__ = ["FilteredDataset", "sample_ids", "split_by_hash"]


class FilteredDataset(OpenDataset):
    """The records of a dataset that a predicate selects.

    Args:
        parent: The opened dataset.
        records: Its records; must be iterable more than once.
        predicate: Returns whether to include a record.
        operation: The type of filter, for the description, such as ``"sample of 5"``.
    """

    def __init__(
        self,
        parent: OpenDataset,
        records: Iterable[EvalRecord],
        predicate: Callable[[EvalRecord], bool],
        operation: str,
    ) -> None:
        self._parent = parent
        self._records = records
        self._predicate = predicate
        self.name = parent.name
        self.backend = parent.backend
        self.version = parent.version
        self.description = f"{operation} of {parent.description}"

    def rows(self) -> Iterator[EvalRecord]:
        """See `OpenDataset`."""
        return filter(self._predicate, self._records)

    def info(self) -> DatasetInfo:
        """See `OpenDataset`; that of the parent."""
        return self._parent.info()

    def schema(self) -> dict[str, str] | None:
        """See `OpenDataset`; that of the parent."""
        return self._parent.schema()

    def mlflow_source(self) -> Any:
        """See `OpenDataset`; that of the parent."""
        return self._parent.mlflow_source()


def sample_ids(records: Iterable[EvalRecord], n: int, seed: int) -> frozenset[str]:
    """Choose records by the hash of their request id, independent of their order.

    Args:
        records: The records.
        n: The size of the sample.
        seed: Another seed results in another sample.

    Returns:
        The request ids of the sample.

    Raises:
        ConfigurationError: `n` is not an integer, or negative.
    """
    check_count("n", n)
    ids = (record.request_id for record in records)
    return frozenset(heapq.nsmallest(n, ids, key=lambda id_: _unit_hash(id_, seed)))


def split_by_hash(fractions: Mapping[str, float], seed: int) -> Callable[[EvalRecord], str]:
    """Assign records to the parts of a split by the hash of their inputs.

    A record therefore stays in its part when others are added, and records with the same inputs
    are in the same part.

    Args:
        fractions: The fraction of each part; they are normalized to a sum of 1.
        seed: Another seed results in another split.

    Returns:
        A function that returns the name of a record's part.

    Raises:
        ConfigurationError: There are no parts, or a fraction is not a positive number.
    """
    values = fractions.values() if isinstance(fractions, Mapping) else ()
    if not values or not all(is_number(v) and 0 < v <= sys.float_info.max for v in values):
        msg = (
            "`fractions` must be positive numbers by part, such as {'dev': 0.8, 'test': 0.2}, got "
            f"{describe_value(fractions)}."
        )
        raise ConfigurationError(msg)
    total = sum(fractions.values())

    def part_of(record: EvalRecord) -> str:
        remaining = _unit_hash(record_key(record.request), seed) * total
        for name, fraction in fractions.items():
            remaining -= fraction
            if remaining < 0:
                return name
        return name

    return part_of


def _unit_hash(key: str, seed: int) -> float:
    """Return a hash between 0 and 1."""
    digest = hashlib.blake2b(f"{seed}:{key}".encode("utf-8", "surrogatepass"), digest_size=8)
    return int.from_bytes(digest.digest(), "big") / float(1 << 64)
