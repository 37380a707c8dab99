"""A new source is one class in the registry, and a new table backend one class in the resolver."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from langchain_dbx_eval import EvalDataset, errors
from langchain_dbx_eval.datasets.base import LoadOptions, OpenDataset
from langchain_dbx_eval.datasets.schema.table_name import TableName
from langchain_dbx_eval.datasets.sources import registry, table_resolver

NAME = "main.default.questions"


class IcebergFolder(OpenDataset):
    accepts = "the path of an Iceberg folder"
    backend = "iceberg"
    description = "Iceberg folder"

    @staticmethod
    def matches(source: Any, _: LoadOptions) -> bool:
        return isinstance(source, str) and source.startswith("iceberg:")

    @classmethod
    def open(cls, _: Any, __: LoadOptions) -> IcebergFolder:
        return cls()

    def rows(self) -> Iterator[Any]:
        return iter([{"request": "from Iceberg"}])


class IcebergTable(IcebergFolder):
    @classmethod
    def is_default_for(cls, name: TableName, _: LoadOptions) -> bool:
        return name.catalog == "lake"


@pytest.fixture
def _source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "SOURCES", (*registry.SOURCES, IcebergFolder))


@pytest.fixture
def _backend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_resolver, "BACKENDS", (*table_resolver.BACKENDS, IcebergTable))


@pytest.mark.usefixtures("_source")
def test_a_source_in_the_registry_is_opened() -> None:
    [record] = EvalDataset.load("iceberg:/lake/questions")
    assert record.request == "from Iceberg"


@pytest.mark.usefixtures("_source")
def test_the_error_of_an_unsupported_source_lists_the_registry() -> None:
    with pytest.raises(errors.ConfigurationError, match=r"three-level.*\.jsonl.*an Iceberg folder"):
        EvalDataset.load("questions")


@pytest.mark.usefixtures("_backend")
@pytest.mark.parametrize("options", [{"backend": "iceberg"}, {}])
def test_a_backend_is_selected_by_name_and_by_default(options: dict) -> None:
    assert EvalDataset.load("lake.default.questions", **options).backend == "iceberg"


@pytest.mark.usefixtures("_backend")
def test_the_error_of_an_unsupported_backend_lists_those_for_the_operation() -> None:
    with pytest.raises(errors.ConfigurationError, match=r"'local'.*'delta'.*'iceberg'"):
        EvalDataset.load(NAME, backend="pigeon")
    with pytest.raises(errors.ConfigurationError, match=r"'local', 'managed'\."):
        EvalDataset.create(NAME, backend="iceberg")
