"""Fixtures for the tests of datasets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from langchain_dbx_eval import EvalDataset
from langchain_dbx_eval._internal.paths import catalog_root
from langchain_dbx_eval.testing import LocalWorkspace

STORES = ("local", "warehouse", "managed", "mlflow")


@dataclass
class Store:
    """A store of datasets.

    Attributes:
        options: The arguments of `EvalDataset.load` that select it.
        name: The name of a dataset that does not exist yet.
    """

    options: dict[str, Any] = field(default_factory=dict)
    name: str = "main.default.questions"

    def create(self, records: Any = ()) -> EvalDataset:
        """Create the dataset."""
        return EvalDataset.create(self.name, records, **self.options)

    def load(self) -> EvalDataset:
        """Open the dataset."""
        return EvalDataset.load(self.name, **self.options)


class MlflowStore(Store):
    """MLflow's own store, in which only MLflow creates datasets."""

    def create(self, records: Any = ()) -> EvalDataset:
        """Create the dataset."""
        from mlflow.genai.datasets import create_dataset

        return EvalDataset.load(create_dataset(name=self.name)).merge_records(records)


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    """Return each store of datasets."""
    if request.param == "local":
        yield Store()
    elif request.param == "mlflow":
        request.getfixturevalue("mlflow_store")
        yield MlflowStore({"backend": "mlflow"})
    elif request.param == "warehouse":
        with LocalWorkspace() as workspace:
            workspace.add_warehouse("wh")
            yield Store({"warehouse_id": "wh"})
    else:
        pytest.importorskip("databricks.agents", reason="databricks-agents is not installed")
        import mlflow

        with LocalWorkspace(), pytest.MonkeyPatch.context() as patch:
            mlflow.set_tracking_uri("databricks")
            patch.setattr(mlflow.tracking.fluent, "_active_experiment_id", "7")
            yield Store({"backend": "managed"})
        mlflow.set_tracking_uri(None)


@pytest.fixture
def three() -> list[dict]:
    """Three records, in both vocabularies."""
    return [
        {"request": "one?", "expected_response": "1"},
        {"request": "two?", "expected_response": "2"},
        {"inputs": {"question": "three?"}, "expectations": {"expected_response": "3"}},
    ]


@pytest.fixture
def files() -> Callable[..., dict[Path, int]]:
    """Return a function that lists the files below a folder with their modification times."""

    def listing(folder: Path | None = None) -> dict[Path, int]:
        below = (folder or catalog_root()).rglob("*")
        return {path: path.stat().st_mtime_ns for path in below if path.is_file()}

    return listing
