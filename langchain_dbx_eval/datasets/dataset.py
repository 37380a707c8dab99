"""`EvalDataset`: an evaluation dataset from any source."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_dbx_eval.datasets.base import DatasetInfo, LoadOptions, OpenDataset, SupportsMerge
from langchain_dbx_eval.datasets.delta.local_catalog import LocalTable
from langchain_dbx_eval.datasets.preview import preview_html
from langchain_dbx_eval.datasets.record import EvalRecord
from langchain_dbx_eval.datasets.schema.row_codec import digest_of
from langchain_dbx_eval.datasets.schema.table_name import TableName, looks_like_table_name
from langchain_dbx_eval.datasets.schema.validation import parse_rows, validate_rows
from langchain_dbx_eval.datasets.sources.files import export_template, write_jsonl
from langchain_dbx_eval.datasets.sources.mlflow_store import export
from langchain_dbx_eval.datasets.sources.mlflow_traces import open_traces
from langchain_dbx_eval.datasets.sources.registry import open_source
from langchain_dbx_eval.datasets.sources.table_resolver import create_table
from langchain_dbx_eval.datasets.views import FilteredDataset, sample_ids, split_by_hash
from langchain_dbx_eval.errors import AlreadyExistsError, ConfigurationError, SchemaError

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.data.dataset import Dataset as MlflowDataset
    from mlflow.genai.datasets import EvaluationDataset as MlflowEvaluationDataset

__all__ = ["EvalDataset"]

_logger = logging.getLogger(__name__)

Records = Iterable[EvalRecord | Mapping[str, Any]]


class EvalDataset:
    """A set of evaluation records, pinned to the version at which it was opened.

    Created by `load`, `create`, `get_or_create` and `from_traces`. Iteration streams the records: a
    table of a million records is never in memory as a whole.
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
                file or of a Delta folder; or an `EvalDataset`, which is returned unchanged.
            backend: For a name: ``"spark"``, ``"warehouse"``, ``"local"``, ``"delta"`` (the table's
                files, with vended credentials) or ``"managed"`` (Databricks' managed evaluation
                datasets); default: the first that is available, except ``"managed"``. For any
                string: ``"mlflow"``, the name of a dataset in MLflow's own store.
            version: The version to read; default: the newest.
            warehouse_id: The SQL warehouse; default: ``DATABRICKS_WAREHOUSE_ID``.
            workspace_client: A `databricks.sdk.WorkspaceClient`; default: the SDK's own login.
            timeout: Total timeout of a warehouse's statement in seconds, including start-up.
            volume: A volume (``"/Volumes/main/default/uploads"``) for merges of more than 4 MiB
                with a warehouse; default: ``DBX_EVAL_VOLUME``; without one, in batches.

        Returns:
            The dataset. Invalid rows are listed in its `errors`, and are not part of it.

        Raises:
            NotFoundError: The table, the version or the file does not exist.
            ConfigurationError: The source is not supported.
            WarehouseError: The warehouse did not start, or the statement failed.
        """
        if isinstance(source, cls):
            return source
        options = LoadOptions(backend, version, warehouse_id, workspace_client, timeout, volume)
        return cls(open_source(source, options))

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
            records: Initial records, or rows of either vocabulary.
            backend: ``"warehouse"``, ``"spark"``, ``"local"``, or ``"managed"`` for a dataset that
                Databricks' UI shows in its experiment; default: a warehouse if one is configured,
                else Spark in a notebook or job on Databricks, else the local catalog.
            warehouse_id: As for `load`.
            workspace_client: As for `load`.
            timeout: As for `load`.
            volume: As for `load`.

        Returns:
            The new dataset.

        Raises:
            AlreadyExistsError: A table of this name exists.
            ConfigurationError: The name is invalid, or the backend cannot create tables.
            SchemaError: A record is invalid; nothing was created.
            WarehouseError: The warehouse did not start, or the statement failed.
        """
        options = LoadOptions(backend, None, warehouse_id, workspace_client, timeout, volume)
        return cls(create_table(TableName.parse(name), validate_rows(records), options))

    @classmethod
    def get_or_create(cls, name: str, **options: Any) -> EvalDataset:
        """Create an empty table for a dataset, or open the existing one.

        Args:
            name: Its three-level name.
            **options: `backend`, `warehouse_id`, `workspace_client`, `timeout` and `volume`, as for
                `create`.

        Returns:
            The dataset.

        Raises:
            SchemaError: The existing table does not contain evaluation records.
        """
        try:
            return cls.create(name, **options)
        except AlreadyExistsError:
            dataset = cls.load(name, **options)
        columns = dataset.schema or {}
        if not {"inputs", "request"} & columns.keys():
            msg = (
                f"The table {name} has no column 'inputs' or 'request', only {', '.join(columns)}."
            )
            raise SchemaError(f"{msg} Choose another name.")
        return dataset

    @classmethod
    def from_traces(
        cls, experiment: str | None = None, *, filter_string: str | None = None, limit: int = 1_000
    ) -> EvalDataset:
        """Convert the traces of an MLflow experiment to records, in memory.

        Args:
            experiment: The experiment's name or id; default: the current one.
            filter_string: MLflow's search expression, such as ``"trace.status = 'OK'"``.
            limit: The maximum number of traces; the newest are read.

        Returns:
            A dataset with the inputs and outputs of each root span, the documents of retriever
            spans, and the expectations that were logged on the traces.

        Raises:
            NotFoundError: The experiment does not exist.
        """
        return cls(open_traces(experiment, filter_string, limit))

    @staticmethod
    def export_template(path: str | Path) -> Path:
        """Write a commented YAML file for records written by hand, which `load` reads.

        Args:
            path: The new file.

        Returns:
            `path`.

        Raises:
            AlreadyExistsError: The file exists.
        """
        return export_template(Path(path))

    def merge_records(self, records: Records) -> EvalDataset:
        """Add records to the table, by their inputs: merging the same records twice is safe.

        Args:
            records: Records, or rows of either vocabulary.

        Returns:
            This dataset, now pinned to the version that contains them.

        Raises:
            ConfigurationError: The source does not support merging.
            SchemaError: A record is invalid; nothing was merged.
        """
        if not isinstance(self._opened, SupportsMerge):
            msg = (
                f"Records cannot be merged into {self.source}. "
                "Create a table first: EvalDataset.create('main.default.…', dataset)."
            )
            raise ConfigurationError(msg)
        self._opened = self._opened.merge(validate_rows(records))
        for cached in ("digest", "errors", "_info", "schema", "_length"):
            self.__dict__.pop(cached, None)
        return self

    @property
    def name(self) -> str | None:
        """The table's three-level name, or the name of an MLflow dataset; else None."""
        return self._opened.name

    @property
    def source(self) -> str:
        """Where the records come from, as a phrase."""
        return self._opened.description

    @property
    def backend(self) -> str:
        """The backend that opened it, such as ``"local"``, ``"warehouse"`` or ``"frame"``."""
        return self._opened.backend

    @property
    def path(self) -> Path | None:
        """The folder of the Delta table in the local catalog; None for other sources."""
        return self._opened.path if isinstance(self._opened, LocalTable) else None

    @property
    def version(self) -> int | str | None:
        """The version that is read; None if the source has no versions."""
        return self._opened.version

    @property
    def dataset_id(self) -> str | None:
        """The source's id of the dataset, if it has one."""
        return self._info.dataset_id

    @property
    def created_by(self) -> str | None:
        """The user who created the dataset, if the source stores it."""
        return self._info.created_by

    @property
    def last_update_time(self) -> datetime | None:
        """The time of the last change, with its time zone, if the source stores it."""
        return self._info.last_update_time

    @cached_property
    def schema(self) -> dict[str, str] | None:
        """The source's types by column; None if it has no schema."""
        return self._opened.schema()

    @cached_property
    def errors(self) -> tuple[SchemaError, ...]:
        """One error for each invalid row of the source."""
        if self._opened.count() is not None:
            return ()
        return tuple(row for row in parse_rows(self._opened.rows()) if isinstance(row, SchemaError))

    @cached_property
    def digest(self) -> str:
        """A digest of the content: 16 hexadecimal digits, the same for any order and source."""
        return self._opened.digest() or digest_of(self)

    def filter(self, predicate: Callable[[EvalRecord], bool]) -> EvalDataset:
        """Return the records for which `predicate` is true."""
        return self._filtered(predicate, "filter")

    def sample(self, n: int, *, seed: int = 0) -> EvalDataset:
        """Return a sample of `n` records, chosen by hash and so independent of their order.

        Args:
            n: The size of the sample.
            seed: Another seed results in another sample.

        Raises:
            ConfigurationError: `n` is negative.
        """
        ids = sample_ids(self, n, seed)
        return self._filtered(lambda record: record.request_id in ids, f"sample of {n}")

    def split(self, fractions: Mapping[str, float], *, seed: int = 0) -> dict[str, EvalDataset]:
        """Split the dataset into parts of about the given fractions.

        The inputs of a record determine its part, which does not change when records are added.

        Args:
            fractions: Fractions by part, such as ``{"dev": 0.8, "test": 0.2}``; they are normalized
                to a sum of 1.
            seed: Another seed results in another split.

        Returns:
            The parts by name.

        Raises:
            ConfigurationError: A fraction is not positive.
        """
        part_of = split_by_hash(fractions, seed)

        def part(name: str) -> EvalDataset:
            return self._filtered(lambda record: part_of(record) == name, f"part {name!r}")

        return {name: part(name) for name in fractions}

    def snapshot(self, to: str | Path | None = None) -> EvalDataset:
        """Copy the records, so that changes of the source do not affect them.

        Args:
            to: A three-level name in the local catalog, or a ``.jsonl`` file; default: a table of
                the local catalog that is named after the digest, and is created only once.

        Returns:
            The copy.

        Raises:
            AlreadyExistsError: The table or the file exists.
            ConfigurationError: `to` is neither.
        """
        if to is None:
            has_table_name = self.name is not None and looks_like_table_name(self.name)
            stem = TableName.parse(self.name or "").table if has_table_name else "records"
            to = f"snapshots.{self.backend}.`{stem}_{self.digest}`"
            if LocalTable.exists(name := TableName.parse(to)):
                return EvalDataset(LocalTable.open(name, LoadOptions()))
        if isinstance(to, str) and looks_like_table_name(to):
            return EvalDataset(LocalTable.create(TableName.parse(to), self))
        if Path(to).suffix.lower() != ".jsonl":
            msg = f"`to` must be a three-level name or a .jsonl file, got {str(to)!r}."
            raise ConfigurationError(msg)
        write_jsonl(Path(to), (record.to_row() for record in self))
        return EvalDataset.load(to)

    def mlflow_input(self) -> MlflowDataset:
        """Return the dataset for `mlflow.log_input`: name, digest, schema and source."""
        from langchain_dbx_eval.datasets.mlflow_input import EvaluationInput

        return EvaluationInput(self._opened, self.name or "records", self.digest, len(self))

    def to_mlflow(self, name: str | None = None) -> MlflowEvaluationDataset:
        """Export the records to MLflow's own store, for its UI and `mlflow.genai.evaluate`.

        Args:
            name: The name of the MLflow dataset; default: this dataset's. If it exists, the records
                are merged into it.

        Returns:
            An `mlflow.genai.datasets.EvaluationDataset`.

        Raises:
            ConfigurationError: There is no name, or several MLflow datasets have this name.
            SchemaError: MLflow rejected a record; nothing was exported.
        """
        name = name or self.name
        if not name:
            msg = "An MLflow dataset requires a name, and this dataset has none: to_mlflow('name')."
            raise ConfigurationError(msg)
        return export(name, self)

    def to_pandas(self) -> pd.DataFrame:
        """Return all records as a pandas DataFrame, in Agent Evaluation's columns."""
        import pandas as pd

        return pd.DataFrame([record.to_row() for record in self])

    def __iter__(self) -> Iterator[EvalRecord]:
        invalid = 0
        for row in parse_rows(self._opened.rows()):
            if isinstance(row, SchemaError):
                invalid += 1
            else:
                yield row
        if invalid:
            _logger.warning("%d invalid rows of %s are skipped: see .errors", invalid, self.source)

    def __len__(self) -> int:
        return self._length

    def __bool__(self) -> bool:
        """Return True, also for an empty dataset: `len` may have to read all records."""
        return True

    def __repr__(self) -> str:
        version = f", version {self.version}" if self.version is not None else ""
        count = self._opened.count()
        records = "records" if count is None else f"{count} records"
        return f"EvalDataset({self.name or 'unnamed'}{version}: {records} from {self.source})"

    def _repr_html_(self) -> str:
        properties = {
            "name": self.name,
            "source": self.source,
            "version": self.version,
            "records": self._opened.count(),
            "created by": self.created_by,
            "last update": self.last_update_time,
        }
        return preview_html(properties, itertools.islice(self, 5))

    @cached_property
    def _length(self) -> int:
        count = self._opened.count()
        return sum(1 for _ in self) if count is None else count

    @cached_property
    def _info(self) -> DatasetInfo:
        return self._opened.info()

    def _filtered(self, predicate: Callable[[EvalRecord], bool], operation: str) -> EvalDataset:
        # A copy of this object, which `merge_records` does not move to another version.
        parent = EvalDataset(self._opened)
        return EvalDataset(FilteredDataset(self._opened, parent, predicate, operation))
