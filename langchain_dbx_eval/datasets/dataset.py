"""`EvalDataset`: an evaluation dataset from any source."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_dbx_eval._internal.log import get_logger
from langchain_dbx_eval.datasets.base import (
    DatasetInfo,
    LoadOptions,
    OpenDataset,
    SupportsDelete,
    SupportsMerge,
    check_count,
)
from langchain_dbx_eval.datasets.delta.local_catalog import LocalTable
from langchain_dbx_eval.datasets.preview import preview_html
from langchain_dbx_eval.datasets.record import (
    EvalRecord,
    describe_value,
    misnamed_columns,
    record_key,
)
from langchain_dbx_eval.datasets.schema.mlflow_codec import to_frame
from langchain_dbx_eval.datasets.schema.row_codec import digest_of
from langchain_dbx_eval.datasets.schema.table_name import TableName, looks_like_table_name
from langchain_dbx_eval.datasets.schema.validation import InvalidRow, parse_rows, validate_rows
from langchain_dbx_eval.datasets.sources.files import export_template, write_jsonl
from langchain_dbx_eval.datasets.sources.mlflow_store import export
from langchain_dbx_eval.datasets.sources.mlflow_traces import open_traces
from langchain_dbx_eval.datasets.sources.registry import open_rows, open_source
from langchain_dbx_eval.datasets.sources.table_resolver import create_table
from langchain_dbx_eval.datasets.views import FilteredDataset, sample_ids, split_by_hash
from langchain_dbx_eval.errors import AlreadyExistsError, ConfigurationError, SchemaError

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.data.dataset import Dataset as MlflowDataset
    from mlflow.genai.datasets import EvaluationDataset as MlflowEvaluationDataset

__all__ = ["EvalDataset"]

_logger = get_logger(__name__)


class EvalDataset:
    """A set of evaluation records, pinned to the version at which it was opened.

    Created by `load`, `create`, `get_or_create` and `from_traces`. Iteration streams the records: a
    table of a million records is never in memory as a whole.
    """

    def __init__(self, opened: OpenDataset) -> None:
        if not isinstance(opened, OpenDataset):
            msg = (
                "EvalDataset is not created by its class. Call EvalDataset.load(…) for a table, a "
                "file, a frame or a list of records, or EvalDataset.create('main.default.…')."
            )
            raise ConfigurationError(msg)
        self._opened = opened
        self._has_checked_names = False

    @classmethod
    def load(
        cls,
        source: Any = None,
        *,
        name: str | None = None,
        uc_table_name: str | None = None,
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
                dataset; MLflow traces, as a list or as the frame of `mlflow.search_traces`; the
                path of a ``.jsonl``, ``.json``, ``.csv``, ``.parquet`` or ``.yaml`` file or of a
                Delta folder; or an `EvalDataset`, which is returned unchanged.
            name: The same as `source`, under the name that `mlflow.genai.datasets` uses.
            uc_table_name: The same as `source`, under the name that databricks-agents uses.
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
            The dataset. Invalid rows are listed in its `invalid_rows`, and are not part of it.

        Raises:
            NotFoundError: The table, the version or the file does not exist.
            ConfigurationError: The source is missing or not supported.
            WarehouseError: The warehouse did not start, or the statement failed.
        """
        source = _only_one(source=source, name=name, uc_table_name=uc_table_name)
        if isinstance(source, cls):
            return source
        options = LoadOptions(backend, version, warehouse_id, workspace_client, timeout, volume)
        return cls(open_source(source, options))

    @classmethod
    def create(
        cls,
        name: str | None = None,
        records: Any = (),
        *,
        uc_table_name: str | None = None,
        backend: str | None = None,
        warehouse_id: str | None = None,
        workspace_client: Any = None,
        timeout: float = 300.0,
        volume: str | None = None,
    ) -> EvalDataset:
        """Create a table for a dataset.

        Args:
            name: Its three-level name.
            records: Initial records: whatever `load` accepts, or any iterable of rows.
            uc_table_name: The same as `name`, under the name that databricks-agents uses.
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
        table = TableName.parse(_only_one(name=name, uc_table_name=uc_table_name))
        rows = _rows_of(records, replace(options, backend=None))
        return cls(create_table(table, validate_rows(rows), options))

    @classmethod
    def get_or_create(
        cls, name: str | None = None, *, uc_table_name: str | None = None, **options: Any
    ) -> EvalDataset:
        """Create an empty table for a dataset, or open the existing one.

        Args:
            name: Its three-level name.
            uc_table_name: The same as `name`, under the name that databricks-agents uses.
            **options: `backend`, `warehouse_id`, `workspace_client`, `timeout` and `volume`, as for
                `create`.

        Returns:
            The dataset.

        Raises:
            SchemaError: The existing table does not contain evaluation records.
        """
        name = _only_one(name=name, uc_table_name=uc_table_name)
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
    def delete(
        cls, name: str | None = None, *, uc_table_name: str | None = None, **options: Any
    ) -> None:
        """Delete a dataset with all its records.

        Args:
            name: The name of its table, or the name or id of a dataset in MLflow's own store. A
                table that does not have the columns of an evaluation dataset is not deleted.
            uc_table_name: The same as `name`, under the name that databricks-agents uses.
            **options: `backend`, `warehouse_id`, `workspace_client` and `timeout`, as for `load`,
                which also determines the backend if none is given.

        Raises:
            NotFoundError: The dataset does not exist.
            ConfigurationError: The name is missing, or the backend cannot delete datasets.
            SchemaError: The table is not an evaluation dataset.
            WarehouseError: The warehouse did not start, or the statement failed.
        """
        name = _only_one(name=name, uc_table_name=uc_table_name)
        dataset = cls.load(name, **options)
        if not isinstance(dataset._opened, SupportsDelete):
            raise dataset._not_supported("EvalDataset.delete() cannot delete")
        dataset._opened.drop()

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
            ConfigurationError: An argument is of a wrong type.
        """
        check_count("limit", limit)
        for name, value in (("experiment", experiment), ("filter_string", filter_string)):
            if value is not None and not isinstance(value, str):
                msg = f"`{name}` must be a string, got {describe_value(value)}."
                raise ConfigurationError(msg)
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
            ConfigurationError: `path` is not a path, or the file cannot be written.
        """
        if not isinstance(path, str | os.PathLike):
            msg = f"`path` must be the path of a new .yaml file, got {describe_value(path)}."
            raise ConfigurationError(msg)
        return export_template(Path(path))

    def merge_records(self, records: Any) -> EvalDataset:
        """Add records, or merge them into those with the same inputs; safe to repeat.

        Expectations and tags are merged by name, and the new value wins.

        Args:
            records: Whatever `load` accepts, or any iterable of records or rows. Of a trace, the
                inputs, outputs, documents and expectations are stored, and its id.

        Returns:
            This dataset, now pinned to the version that contains them.

        Raises:
            ConfigurationError: The source does not support merging, or `records` are not supported.
            SchemaError: A record is invalid; nothing was merged.
        """
        if not isinstance(self._opened, SupportsMerge):
            raise self._not_supported("Records cannot be merged into")
        rows = _rows_of(records, LoadOptions())
        return self._reopen(self._opened.merge(validate_rows(rows)))

    def delete_records(self, records: Iterable[str | EvalRecord]) -> int:
        """Delete records from the newest version; safe to repeat.

        Args:
            records: The ``dataset_record_id``s of `to_df`, or the records themselves, such as
                ``dataset.filter(…)``. Records that the dataset does not contain are ignored.

        Returns:
            The number of deleted records. This dataset is now pinned to the version without them.

        Raises:
            ConfigurationError: The source does not support deletion, or `records` is not a list of
                ids or records.
            SchemaError: The table has another schema; nothing was deleted.
        """
        if not isinstance(self._opened, SupportsDelete):
            raise self._not_supported("Records cannot be deleted from")
        ids: set[str] = set()
        is_list = isinstance(records, Iterable) and not isinstance(records, str | Mapping)
        for item in records if is_list else [None]:
            if not isinstance(item, str | EvalRecord):
                msg = (
                    "delete_records() takes a list of records, or of values of "
                    f"to_df()['dataset_record_id'], got {describe_value(records)}."
                )
                raise ConfigurationError(msg)
            ids.add(item if isinstance(item, str) else record_key(item.request))
        opened, deleted = self._opened.delete_records(ids)
        self._reopen(opened)
        if deleted < len(ids):
            _logger.warning(
                "%d of %d records are not in %s.", len(ids) - deleted, len(ids), self.source
            )
        return deleted

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

    @property
    def errors(self) -> tuple[SchemaError, ...]:
        """One error for each invalid row of the source."""
        return tuple(row.error for row in self.invalid_rows)

    @cached_property
    def invalid_rows(self) -> tuple[InvalidRow, ...]:
        """The rows of the source that are not valid records, each with its index and its error.

        A table in the format of `create` is not read for this: its rows were validated when they
        were written. If one of them was damaged later, `iter_rows` returns it as an invalid row.
        """
        if self._opened.count() is not None:
            return ()
        return tuple(row for row in self.iter_rows() if isinstance(row, InvalidRow))

    def iter_rows(self) -> Iterator[EvalRecord | InvalidRow]:
        """Iterate over all rows of the source in order: each is a record or an invalid row."""
        for row in parse_rows(self._opened.rows()):
            if not self._has_checked_names and isinstance(row, EvalRecord):
                self._has_checked_names = True
                for name, meant in misnamed_columns(row).items():
                    _logger.warning(
                        "No scorer reads the column %r of %s. If it contains the %s, name it %r.",
                        name, self.source, meant.replace("_", " "), meant,
                    )  # fmt: skip
            yield row

    @cached_property
    def digest(self) -> str:
        """A digest of the content: 16 hexadecimal digits, the same for any order and source."""
        return self._opened.digest() or digest_of(self)

    def filter(self, predicate: Callable[[EvalRecord], bool]) -> EvalDataset:
        """Return the records for which `predicate` is true.

        Raises:
            ConfigurationError: `predicate` is not callable.
        """
        if not callable(predicate):
            msg = (
                "`predicate` must be a function of a record, such as lambda record: "
                f"record.expected_facts is not None, got {describe_value(predicate)}."
            )
            raise ConfigurationError(msg)
        return self._filtered(predicate, "filter")

    def sample(self, n: int, *, seed: int = 0) -> EvalDataset:
        """Return a sample of `n` records, chosen by hash and so independent of their order.

        Args:
            n: The size of the sample.
            seed: Another seed results in another sample.

        Raises:
            ConfigurationError: `n` is not an integer, or negative.
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
            ConfigurationError: A fraction is not a positive number.
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
        if not isinstance(to, str | os.PathLike) or Path(to).suffix.lower() != ".jsonl":
            msg = f"`to` must be a three-level name or a .jsonl file, got {describe_value(to)}."
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
        if not isinstance(name, str) or not name:
            msg = (
                f"An MLflow dataset requires a name, got {describe_value(name)}: to_mlflow('name')."
            )
            raise ConfigurationError(msg)
        return export(name, self)

    def to_pandas(self) -> pd.DataFrame:
        """Return all records as a pandas DataFrame, in Agent Evaluation's columns."""
        import pandas as pd

        return pd.DataFrame([record.to_row() for record in self])

    def to_df(self) -> pd.DataFrame:
        """Return all records as a pandas DataFrame, in the columns of MLflow's datasets.

        Returns:
            ``dataset_record_id`` (the record's key, for `delete_records`), ``inputs``, ``outputs``,
            ``expectations``, ``tags`` and ``request_id``; where a record has any:
            ``retrieved_context``, ``trace`` and ``metadata``. `load` restores the records.
        """
        import pandas as pd

        rows = [to_frame(record) for record in self]
        columns = list(dict.fromkeys(itertools.chain(to_frame(EvalRecord(request="")), *rows)))
        # As objects: pandas would convert a column of integers and None to floats.
        return pd.DataFrame(rows, columns=columns, dtype=object)

    def __iter__(self) -> Iterator[EvalRecord]:
        invalid, first = 0, ""
        for row in self.iter_rows():
            if isinstance(row, InvalidRow):
                invalid, first = invalid + 1, first or str(row.error)
            else:
                yield row
        if invalid:
            _logger.warning(
                "%d invalid rows of %s are skipped: see .invalid_rows. The first one: %s",
                invalid, self.source, first,
            )  # fmt: skip

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
        count, updated = self._opened.count(), self.last_update_time
        properties = {
            "from": self.source,
            "version": self.version,
            "records": None if count is None else f"{count:,}",
            "created by": self.created_by,
            "last update": updated and f"{updated:%Y-%m-%d %H:%M:%S %Z}".rstrip(),
        }
        rows = list(itertools.islice(self.iter_rows(), 5))
        if invalid := [row for row in rows if isinstance(row, InvalidRow)]:
            problem = f"{len(invalid)} of the first {len(rows)}: {invalid[0].error}"
            properties["invalid rows"] = problem
        title = self.name or "Dataset without a name"
        records = (row for row in rows if isinstance(row, EvalRecord))
        return preview_html(title, properties, records)

    @cached_property
    def _length(self) -> int:
        count = self._opened.count()
        return sum(1 for _ in self) if count is None else count

    @cached_property
    def _info(self) -> DatasetInfo:
        return self._opened.info()

    def _not_supported(self, problem: str) -> ConfigurationError:
        return ConfigurationError(
            f"{problem} {self.source}. Only tables and datasets in MLflow's store can be changed: "
            "EvalDataset.create('main.default.…', dataset)."
        )

    def _reopen(self, opened: OpenDataset) -> EvalDataset:
        self._opened = opened
        for cached in ("digest", "invalid_rows", "_info", "schema", "_length"):
            self.__dict__.pop(cached, None)
        return self

    def _filtered(self, predicate: Callable[[EvalRecord], bool], operation: str) -> EvalDataset:
        # A copy of this object, which `merge_records` does not move to another version.
        parent = EvalDataset(self._opened)
        parent._has_checked_names = self._has_checked_names
        return EvalDataset(FilteredDataset(self._opened, parent, predicate, operation))


def _only_one(**names: Any) -> Any:
    """Return the one argument that is given; some are the same one under another name.

    Raises:
        ConfigurationError: None or several are given.
    """
    given = [value for value in names.values() if value is not None]
    if len(given) != 1:
        problem = "is missing" if not given else "is given more than once"
        msg = f"The dataset {problem}. Pass one of {', '.join(f'{name}=' for name in names)}."
        raise ConfigurationError(msg)
    return given[0]


def _rows_of(records: Any, options: LoadOptions) -> Iterable[Any]:
    # Not the records of a dataset: these would be without its invalid rows.
    if isinstance(records, EvalDataset):
        return records.iter_rows()
    return open_rows(records, options)
