"""`EvalDataset`: an evaluation dataset, wherever it comes from."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_dbx_eval.datasets.delta.local_catalog import LocalTable
from langchain_dbx_eval.datasets.open_dataset import (
    DatasetInfo,
    LoadOptions,
    OpenDataset,
    SupportsMerge,
)
from langchain_dbx_eval.datasets.preview import preview_html
from langchain_dbx_eval.datasets.record import EvalRecord
from langchain_dbx_eval.datasets.schema.row_codec import fingerprint_of
from langchain_dbx_eval.datasets.schema.table_name import TableName, looks_like_table_name
from langchain_dbx_eval.datasets.schema.validation import checked, numbered
from langchain_dbx_eval.datasets.sources.files import export_template, write_jsonl
from langchain_dbx_eval.datasets.sources.registry import open_source
from langchain_dbx_eval.datasets.sources.table_resolver import create_table
from langchain_dbx_eval.datasets.views import Derived, part_of, sample_keys
from langchain_dbx_eval.errors import AlreadyExistsError, ConfigurationError, SchemaError

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.data.dataset import Dataset as MlflowDataset
    from mlflow.genai.datasets import EvaluationDataset as MlflowEvaluationDataset

__all__ = ["EvalDataset"]

_logger = logging.getLogger(__name__)

Records = Iterable[EvalRecord | Mapping[str, Any]]


class EvalDataset:
    """A set of evaluation records, pinned to the version that it was opened at.

    Made by `load`, `create`, `get_or_create` and `from_traces`, never directly. Iterating streams:
    a table of a million records is never in memory as a whole.
    """

    def __init__(self, opened: OpenDataset) -> None:
        self._opened = opened

    @classmethod
    def load(
        cls,
        source: Any,
        *,
        backend: str | None = None,
        version: int | None = None,
        warehouse_id: str | None = None,
        workspace_client: Any = None,
        timeout: float = 300.0,
        volume: str | None = None,
    ) -> EvalDataset:
        """Open a dataset. Reading never writes.

        Args:
            source: A three-level name (``"main.default.questions"``); a list of dicts or
                `EvalRecord`s; a pandas, polars, Spark, Arrow or Hugging Face frame; an MLflow
                dataset; the path of a ``.jsonl``, ``.json``, ``.csv``, ``.parquet`` or ``.yaml``
                file or of a Delta folder; or a dataset, which is returned as it is.
            backend: For a name, the route: ``"spark"``, ``"warehouse"``, ``"local"``, ``"delta"``
                (Unity Catalog's credentials for the table's storage), ``"managed"`` (Databricks'
                service for evaluation datasets); None takes the first that can, of all but the
                last. For any text, ``"mlflow"``: the name of a dataset in MLflow's own store.
            version: The version to read; default: the newest.
            warehouse_id: The SQL warehouse; default: ``DATABRICKS_WAREHOUSE_ID``.
            workspace_client: A `databricks.sdk.WorkspaceClient`; default: the SDK's own login.
            timeout: Seconds for all that a warehouse is asked, its start included.
            volume: A volume (``"/Volumes/main/default/uploads"``) that merges beyond 4 MiB pass
                through to a warehouse, as one file each; default: ``DBX_EVAL_VOLUME``, and without
                it they go in parts.

        Returns:
            The dataset. Rows that break the schema are in its `errors`, the others in it.

        Raises:
            NotFoundError: There is no such table, version or file.
            ConfigurationError: The source is nothing that a dataset can be read from.
            WarehouseError: The warehouse did not start, or refused the statement.
        """
        if isinstance(source, cls):
            return source
        reach = LoadOptions(backend, version, warehouse_id, workspace_client, timeout, volume)
        return cls(open_source(source, reach))

    @classmethod
    def create(
        cls,
        name: str,
        records: Records = (),
        *,
        backend: str | None = None,
        warehouse_id: str | None = None,
        workspace_client: Any = None,
        timeout: float = 300.0,
        volume: str | None = None,
    ) -> EvalDataset:
        """Create a table for a dataset.

        Args:
            name: Its three-level name.
            records: Records to begin with.
            backend: ``"warehouse"``, ``"spark"``, ``"local"``, or ``"managed"`` for a dataset that
                Databricks' UI shows among its experiment's; None takes a warehouse where one is
                set, Spark in a notebook or job on Databricks, else the local catalog.
            warehouse_id: As for `load`.
            workspace_client: As for `load`.
            timeout: As for `load`.
            volume: As for `load`.

        Raises:
            AlreadyExistsError: There is a table of this name.
            ConfigurationError: The name is not one.
            SchemaError: A record breaks the schema; nothing has been created then.
            WarehouseError: The warehouse did not start, or refused the statement.
        """
        reach = LoadOptions(backend, None, warehouse_id, workspace_client, timeout, volume)
        return cls(create_table(TableName.parse(name), checked(records), reach))

    @classmethod
    def get_or_create(cls, name: str, **reach: Any) -> EvalDataset:
        """Create a table for a dataset, or open the one that there is.

        Args:
            name: Its three-level name.
            **reach: `backend`, `warehouse_id`, `workspace_client`, `timeout` and `volume`, as for
                `create`.

        Raises:
            SchemaError: There is a table of this name, but it is not of evaluation records.
        """
        try:
            return cls.create(name, **reach)
        except AlreadyExistsError:
            dataset = cls.load(name, **reach)
        columns = dataset.schema or {}
        if not {"inputs", "request"} & columns.keys():
            msg = (
                f"There is a table {name}, but it is not of evaluation records: it has neither a "
                f"column 'inputs' nor 'request', but {', '.join(columns)}. Choose another name."
            )
            raise SchemaError(msg)
        return dataset

    @classmethod
    def from_traces(
        cls, experiment: str | None = None, *, filter_string: str | None = None, limit: int = 1_000
    ) -> EvalDataset:
        """Make records of an experiment's traces, in memory.

        Args:
            experiment: The MLflow experiment's name or id; default: the current one.
            filter_string: MLflow's search expression, such as ``"trace.status = 'OK'"``.
            limit: The most traces that are taken, the newest first.

        Returns:
            A dataset: each trace's root input and output, retrieved documents, and expectations
            that people have noted on it.

        Raises:
            NotFoundError: There is no such experiment.
        """
        from langchain_dbx_eval.datasets.sources.mlflow_traces import open_traces

        return cls(open_traces(experiment, filter_string, limit))

    @staticmethod
    def export_template(path: str | Path) -> Path:
        """Write a commented YAML file to fill in by hand, which `load` reads.

        Raises:
            AlreadyExistsError: There is a file of this name.
        """
        return export_template(Path(path))

    def merge_records(self, records: Records) -> EvalDataset:
        """Add records to the table; the same inputs are one record, so doing it twice is safe.

        Args:
            records: Records, or rows of either vocabulary.

        Returns:
            This dataset, now pinned to the version that holds them.

        Raises:
            ConfigurationError: The dataset has no table behind it.
            SchemaError: A record breaks the schema; none has been added then.
        """
        if not isinstance(self._opened, SupportsMerge):
            msg = (
                f"This dataset was read from {self.source}, which cannot be added to. "
                "Put it in a table first: EvalDataset.create('main.default.…', dataset)."
            )
            raise ConfigurationError(msg)
        self._opened = self._opened.merge(checked(records))
        for cached in ("digest", "errors", "_facts", "schema", "_length"):
            self.__dict__.pop(cached, None)
        return self

    @property
    def name(self) -> str | None:
        """The table's three-level name, where there is one."""
        return self._opened.name

    @property
    def source(self) -> str:
        """Where the records come from, in words."""
        return self._opened.description

    @property
    def backend(self) -> str:
        """The route by which they come, such as ``"local"`` or ``"warehouse"``."""
        return self._opened.backend

    @property
    def path(self) -> Path | None:
        """The folder of the Delta table behind it, where it is in the local catalog."""
        return self._opened.path if isinstance(self._opened, LocalTable) else None

    @property
    def version(self) -> int | str | None:
        """The version that the records are read from, where there are versions."""
        return self._opened.version

    @property
    def dataset_id(self) -> str | None:
        """The id that the source gives it."""
        return self._facts.dataset_id

    @property
    def created_by(self) -> str | None:
        """Who created it, where the source knows."""
        return self._facts.created_by

    @property
    def last_update_time(self) -> datetime | None:
        """When it was last changed, where the source knows."""
        return self._facts.last_update_time

    @cached_property
    def schema(self) -> dict[str, str] | None:
        """The source's columns and their types, where it has some."""
        return self._opened.schema()

    @cached_property
    def errors(self) -> tuple[SchemaError, ...]:
        """One error for each row of the source that is no record."""
        if self._opened.count() is not None:
            return ()
        return tuple(row for row in numbered(self._opened.rows()) if isinstance(row, SchemaError))

    @cached_property
    def digest(self) -> str:
        """A fingerprint of the content: the same in whatever order and store the records lie."""
        return self._opened.digest() or fingerprint_of(self)

    def filter(self, keep: Callable[[EvalRecord], bool]) -> EvalDataset:
        """The records that pass a test."""
        return self._derived(keep, "filter")

    def sample(self, n: int, *, seed: int = 0) -> EvalDataset:
        """Some `n` records: by hash, so the same ones in whatever order they lie.

        Raises:
            ConfigurationError: `n` is negative.
        """
        chosen = sample_keys(self, n, seed)
        return self._derived(lambda record: record.request_id in chosen, f"sample of {n}")

    def split(self, fractions: Mapping[str, float], *, seed: int = 0) -> dict[str, EvalDataset]:
        """Cut it in parts of about the given shares, such as ``{"dev": 0.8, "test": 0.2}``.

        A record's part is told by its inputs alone, so it stays there when the dataset grows.

        Raises:
            ConfigurationError: A share is not above 0.
        """
        part = part_of(fractions, seed)

        def only(name: str) -> EvalDataset:
            return self._derived(lambda record: part(record) == name, f"part {name!r}")

        return {name: only(name) for name in fractions}

    def snapshot(self, to: str | Path | None = None) -> EvalDataset:
        """Copy the records, so that nothing that happens to the source changes them.

        Args:
            to: A three-level name in the local catalog, or a ``.jsonl`` file; default: a table
                of the local catalog that is named after the content, and is made only once.

        Returns:
            The copy.

        Raises:
            AlreadyExistsError: There is such a table or file.
        """
        if to is None:
            stem = TableName.parse(self.name).table if self.name else "records"
            name = TableName.parse(f"snapshots.{self.backend}.`{stem}_{self.digest}`")
            if LocalTable.exists(name):
                return EvalDataset(LocalTable.open(name))
            return EvalDataset(LocalTable.create(name, self))
        if isinstance(to, str) and looks_like_table_name(to):
            return EvalDataset(LocalTable.create(TableName.parse(to), self))
        path = Path(to)
        if path.suffix.lower() != ".jsonl":
            msg = f"A snapshot goes to a three-level name or a .jsonl file, not to {str(to)!r}."
            raise ConfigurationError(msg)
        write_jsonl(path, (record.to_row() for record in self))
        return EvalDataset.load(path)

    def mlflow_input(self) -> MlflowDataset:
        """The dataset as `mlflow.log_input` takes it: name, digest, schema, and its source."""
        from langchain_dbx_eval.datasets.mlflow_input import describe

        return describe(self.name or "records", self.digest, len(self), self._opened)

    def to_mlflow(self, name: str | None = None) -> MlflowEvaluationDataset:
        """The records as a dataset of MLflow's own store, for its UI and `mlflow.genai.evaluate`.

        Args:
            name: Its name there; default: this dataset's. One that is there already is merged
                into.

        Returns:
            An `mlflow.genai.datasets.EvaluationDataset`.

        Raises:
            ConfigurationError: There is no name, or MLflow has several datasets of this name.
            SchemaError: MLflow refuses a record; none has been added then.
        """
        from langchain_dbx_eval.datasets.sources.mlflow_store import export

        if (name or self.name) is None:
            msg = "MLflow's datasets have names, and this one has none: to_mlflow('a name')."
            raise ConfigurationError(msg)
        exported: MlflowEvaluationDataset = export(name or self.name or "", self)
        return exported

    def to_pandas(self) -> pd.DataFrame:
        """All records as a pandas frame, in Agent Evaluation's columns."""
        import pandas as pd

        return pd.DataFrame([record.to_row() for record in self])

    def __iter__(self) -> Iterator[EvalRecord]:
        bad = 0
        for row in numbered(self._opened.rows()):
            if isinstance(row, SchemaError):
                bad += 1
            else:
                yield row
        if bad:
            _logger.warning("%d rows of %s are no records: see .errors", bad, self.source)

    def __len__(self) -> int:
        return self._length

    def __bool__(self) -> bool:
        """A dataset is always true: to ask for its length may mean to read it."""
        return True

    def __repr__(self) -> str:
        at = f", version {self.version}" if self.version is not None else ""
        count = self._opened.count()
        many = "records" if count is None else f"{count} records"
        return f"EvalDataset({self.name or 'unnamed'}{at}: {many} from {self.source})"

    def _repr_html_(self) -> str:
        facts = {
            "name": self.name,
            "source": self.source,
            "version": self.version,
            "records": self._opened.count(),
            "created by": self.created_by,
            "last update": self.last_update_time,
        }
        return preview_html(facts, itertools.islice(self, 5))

    @cached_property
    def _length(self) -> int:
        count = self._opened.count()
        return sum(1 for _ in self) if count is None else count

    @cached_property
    def _facts(self) -> DatasetInfo:
        return self._opened.facts()

    def _derived(self, keep: Callable[[EvalRecord], bool], how: str) -> EvalDataset:
        # The version of now, whatever is merged into this object later.
        parent = EvalDataset(self._opened)
        return EvalDataset(Derived(self._opened, lambda: iter(parent), keep, how))
