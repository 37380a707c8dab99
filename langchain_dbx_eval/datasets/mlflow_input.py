"""A dataset as MLflow's runs name their input: what it is and where it lies, not its rows."""

from __future__ import annotations

import json
from typing import Any

from mlflow.data.code_dataset_source import CodeDatasetSource
from mlflow.data.dataset import Dataset
from mlflow.data.delta_dataset_source import DeltaDatasetSource

from langchain_dbx_eval.datasets.open_dataset import OpenDataset

__all__ = ["DeltaSourceOfInput", "describe"]


class DeltaSourceOfInput(DeltaDatasetSource):
    """A Delta table at a version; MLflow 3.17 itself leaves a version out that is 0."""

    def to_dict(self) -> dict[str, Any]:
        """See `DeltaDatasetSource`."""
        described: dict[str, Any] = super().to_dict()
        if self.delta_table_version is not None:
            described["delta_table_version"] = self.delta_table_version
        return described


class EvaluationInput(Dataset):
    """An evaluation dataset as an input of a run.

    Not MLflow's `PandasDataset`: that would hold all rows in memory to hash them once more.
    """

    def __init__(
        self, source: Any, name: str, digest: str, opened: OpenDataset, count: int
    ) -> None:
        self._schema = opened.schema()
        self._profile = {
            "num_rows": count,
            "version": opened.version,
            "source": opened.description,
        }
        super().__init__(source=source, name=name, digest=digest)

    def _compute_digest(self) -> str:
        # MLflow asks only where none was given; `describe` always gives one.
        raise NotImplementedError

    @property
    def schema(self) -> dict[str, str] | None:
        """Columns and types."""
        return self._schema

    @property
    def profile(self) -> dict[str, Any]:
        """How many records there are, and of which version."""
        return self._profile

    def to_dict(self) -> dict[str, str]:
        """What is stored: see `mlflow.data.dataset.Dataset.to_dict`."""
        described: dict[str, str] = super().to_dict()
        return {
            **described,
            "schema": json.dumps({"columns": self.schema}),
            "profile": json.dumps(self.profile),
        }


def describe(name: str, digest: str, count: int, opened: OpenDataset) -> Dataset:
    """A dataset for `mlflow.log_input`.

    Args:
        name: Its name.
        digest: The digest of its content.
        count: How many records it has.
        opened: Where they come from. A source that MLflow has no class for is told in words.
    """
    source = opened.mlflow_source() or CodeDatasetSource({"source": opened.description})
    return EvaluationInput(source, name, digest, opened, count)
