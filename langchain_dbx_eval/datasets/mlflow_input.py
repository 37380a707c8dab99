"""A dataset as the input of an MLflow run: name, digest, schema and source, without its rows."""

from __future__ import annotations

import json
from typing import Any

from mlflow.data.code_dataset_source import CodeDatasetSource
from mlflow.data.dataset import Dataset
from mlflow.data.delta_dataset_source import DeltaDatasetSource

from langchain_dbx_eval.datasets.base import OpenDataset

__all__ = ["EvaluationInput", "PinnedDeltaSource"]


class PinnedDeltaSource(DeltaDatasetSource):
    """A Delta table at a version; MLflow 3.17's own class leaves out version 0."""

    def to_dict(self) -> dict[str, Any]:
        """Return the source as `DeltaDatasetSource.to_dict`, always with its version."""
        values: dict[str, Any] = super().to_dict()
        if self.delta_table_version is not None:
            values["delta_table_version"] = self.delta_table_version
        return values


class EvaluationInput(Dataset):
    """An evaluation dataset for `mlflow.log_input`.

    MLflow's `PandasDataset` would keep all rows in memory, to hash them again.

    Args:
        opened: The dataset; a source without an MLflow class is stored as its description.
        name: Its name.
        digest: The digest of its content.
        count: The number of its records.
    """

    def __init__(self, opened: OpenDataset, name: str, digest: str, count: int) -> None:
        self._schema = opened.schema()
        self._profile = {
            "num_rows": count,
            "version": opened.version,
            "source": opened.description,
        }
        source = opened.mlflow_source() or CodeDatasetSource({"source": opened.description})
        super().__init__(source=source, name=name, digest=digest)

    def _compute_digest(self) -> str:
        # MLflow calls this only for a dataset that is created without a digest.
        raise NotImplementedError

    @property
    def schema(self) -> dict[str, str] | None:
        """Types by column; None if the source has no schema."""
        return self._schema

    @property
    def profile(self) -> dict[str, Any]:
        """The number of records, the version, and the description of the source."""
        return self._profile

    def to_dict(self) -> dict[str, str]:
        """Return the values that MLflow stores; see `mlflow.data.dataset.Dataset.to_dict`."""
        values: dict[str, str] = super().to_dict()
        return {
            **values,
            "schema": json.dumps({"columns": self.schema}),
            "profile": json.dumps(self.profile),
        }
