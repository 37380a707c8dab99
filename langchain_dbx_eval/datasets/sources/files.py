"""Files of records: ``.jsonl``, ``.json``, ``.csv``, ``.parquet``, ``.yaml``, and Delta folders."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from langchain_dbx_eval._internal.extras import require
from langchain_dbx_eval.datasets.delta.reader import DeltaSource, is_delta_folder, open_delta
from langchain_dbx_eval.datasets.open_dataset import LoadOptions, OpenDataset
from langchain_dbx_eval.errors import (
    AlreadyExistsError,
    ConfigurationError,
    NotFoundError,
    SchemaError,
)

__all__ = ["DeltaFolderSource", "FileSource", "export_template", "write_jsonl"]


class FileSource(OpenDataset):
    """A file of records, read anew for each pass, row by row where its format allows."""

    backend = "file"

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = _FORMATS[path.suffix.lower()]
        self.description = f"file {path}"

    @staticmethod
    def matches(source: Any) -> bool:
        """Whether the source is a path, or a text that ends as a file of records does."""
        is_path = isinstance(source, os.PathLike)
        return is_path or (isinstance(source, str) and Path(source).suffix.lower() in _FORMATS)

    @classmethod
    def open(cls, source: Any, _: LoadOptions) -> FileSource:
        """Find the file.

        Raises:
            NotFoundError: There is no such file.
            ConfigurationError: Files of this kind cannot be read.
        """
        path = Path(source).expanduser().absolute()
        if not path.is_file():
            msg = f"There is no file {path}. For a table of this name: back-ticks, a.b.`csv`."
            raise NotFoundError(msg)
        if path.suffix.lower() not in _FORMATS:
            msg = f"{path} is of a kind that is not read. Kinds: {', '.join(_FORMATS)}."
            raise ConfigurationError(msg)
        return cls(path)

    def rows(self) -> Iterator[Any]:
        """See `OpenDataset`; a line that cannot be read is an error among the rows."""
        return self._read(self._path)


class DeltaFolderSource(DeltaSource):
    """A folder with a Delta table, of whatever writer and columns."""

    @staticmethod
    def matches(source: Any) -> bool:
        """Whether the source is a path to such a folder."""
        if not isinstance(source, str | os.PathLike) or isinstance(source, bytes):
            return False
        try:
            return is_delta_folder(Path(source).expanduser())
        except (OSError, ValueError):
            return False

    @classmethod
    def open(cls, source: Any, reach: LoadOptions) -> DeltaFolderSource:
        """Open the table at the version asked for, or at its newest.

        Raises:
            NotFoundError: There is no such version.
        """
        path = Path(source).expanduser().absolute()
        where = f"Delta folder {path}"
        return cls(open_delta(str(path), version=reach.version, where=where), where)


def write_jsonl(path: Path, rows: Iterator[Mapping[str, Any]]) -> None:
    """Write rows as JSON lines; the file is there whole, or not at all.

    Raises:
        AlreadyExistsError: There is a file of this name.
        SchemaError: A row cannot be written as JSON.
    """
    if path.exists():
        msg = f"The file {path} exists already. Remove it, or choose another name."
        raise AlreadyExistsError(msg)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("w", encoding="utf-8") as file:
            for row in rows:
                file.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")
        partial.replace(path)
    except (TypeError, ValueError) as error:
        msg = f"{path} was not written: a record holds something that JSON cannot ({error})."
        raise SchemaError(msg) from error
    finally:
        partial.unlink(missing_ok=True)


def export_template(path: Path) -> Path:
    """Write the template for a hand-written set.

    Returns:
        The file's path.

    Raises:
        AlreadyExistsError: There is a file of this name.
    """
    if path.exists():
        msg = f"The file {path} exists already. Remove it, or choose another name."
        raise AlreadyExistsError(msg)
    text = files("langchain_dbx_eval.datasets.sources").joinpath("template.yaml").read_text("utf-8")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def _json_lines(path: Path) -> Iterator[Any]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            text = line.removeprefix(b"\xef\xbb\xbf").strip()
            if not text:
                continue
            try:
                yield json.loads(text)
            except (ValueError, RecursionError) as error:
                yield SchemaError(f"{path}, line {number}: expected one JSON object ({error}).")


def _json(path: Path) -> Iterator[Any]:
    try:
        rows = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise _unreadable(path, "JSON", error) from error
    return iter(_list_of(rows, path))


def _yaml(path: Path) -> Iterator[Any]:
    yaml = require("yaml", extra="delta")
    from langchain_dbx_eval.datasets.sources.plain_yaml import load

    try:
        rows = load(path.read_text("utf-8-sig"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise _unreadable(path, "YAML", error) from error
    return iter(_list_of(rows, path))


def _csv(path: Path) -> Iterator[Any]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        try:
            for row in reader:
                if None in row or None in row.values():
                    yield SchemaError(
                        f"{path}, line {reader.line_num}: expected {len(reader.fieldnames or ())} "
                        "cells, as in the first line."
                    )
                else:
                    yield {name: cell or None for name, cell in row.items()}
        except (csv.Error, UnicodeDecodeError) as error:
            raise _unreadable(path, f"CSV at line {reader.line_num}", error) from error


def _parquet(path: Path) -> Iterator[Any]:
    pyarrow = require("pyarrow", extra="delta")
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(1_000):
                yield from batch.to_pylist(maps_as_pydicts="strict")
    except pyarrow.ArrowException as error:
        raise _unreadable(path, "Parquet", error) from error


def _list_of(rows: Any, path: Path) -> list[Any]:
    if not isinstance(rows, list):
        msg = f"{path}: expected a list of records, not {type(rows).__name__}."
        raise SchemaError(msg)
    return rows


def _unreadable(path: Path, kind: str, error: Exception) -> SchemaError:
    return SchemaError(f"{path} cannot be read as {kind}: {error}.")


_FORMATS: dict[str, Callable[[Path], Iterator[Any]]] = {
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json,
    ".csv": _csv,
    ".parquet": _parquet,
    ".yaml": _yaml,
    ".yml": _yaml,
}
