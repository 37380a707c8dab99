"""Files of records: ``.jsonl``, ``.json``, ``.csv``, ``.parquet``, ``.yaml``, and Delta folders."""

from __future__ import annotations

import csv
import functools
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from langchain_dbx_eval._internal.extras import require
from langchain_dbx_eval.datasets.base import LoadOptions, OpenDataset
from langchain_dbx_eval.datasets.delta.reader import DeltaSource, is_delta_folder, open_delta
from langchain_dbx_eval.datasets.record import describe_value
from langchain_dbx_eval.errors import (
    AlreadyExistsError,
    ConfigurationError,
    NotFoundError,
    SchemaError,
)

__all__ = ["DeltaFolderSource", "FileSource", "export_template", "write_jsonl", "yaml_loader"]

# Core schema of YAML 1.2, section 10.3.2: pattern and possible first characters by tag.
_YAML_SCALARS = {
    "null": (r"null|Null|NULL|~|", ["n", "N", "~", ""]),
    "bool": (r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    "int": (r"[-+]?(0|[1-9][0-9]*)", list("-+0123456789")),
    "float": (
        r"[-+]?([0-9]*\.[0-9]+([eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+)",
        list("-+.0123456789"),
    ),
}


class FileSource(OpenDataset):
    """A file of records; JSON lines, CSV and Parquet are streamed."""

    accepts = "the path of a .jsonl, .json, .csv, .parquet or .yaml file"
    backend = "file"

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = _READERS[path.suffix.lower()]
        self.description = f"file {path}"

    @staticmethod
    def matches(source: Any, _: LoadOptions) -> bool:
        """See `DatasetSource`; paths, and strings with the suffix of a supported format."""
        is_path = isinstance(source, os.PathLike)
        return is_path or (isinstance(source, str) and Path(source).suffix.lower() in _READERS)

    @classmethod
    def open(cls, source: Any, _: LoadOptions) -> FileSource:
        """Open a file.

        Raises:
            NotFoundError: The file does not exist.
            ConfigurationError: Its format is not supported.
        """
        path = Path(source).expanduser().absolute()
        if not path.is_file():
            msg = f"There is no file {path}. For a table of this name, use back-ticks: a.b.`csv`."
            raise NotFoundError(msg)
        if path.suffix.lower() not in _READERS:
            msg = (
                f"The format of {path} is not supported. Supported formats: {', '.join(_READERS)}."
            )
            raise ConfigurationError(msg)
        return cls(path)

    def rows(self) -> Iterator[Any]:
        """See `OpenDataset`; an invalid line is a `SchemaError` among the rows."""
        return self._read(self._path)


class DeltaFolderSource(DeltaSource):
    """A folder with a Delta table of any schema."""

    accepts = "the path of a Delta folder"

    @staticmethod
    def matches(source: Any, _: LoadOptions) -> bool:
        """See `DatasetSource`."""
        if not isinstance(source, str | os.PathLike) or isinstance(source, bytes):
            return False
        try:
            return is_delta_folder(Path(source).expanduser())
        except (OSError, ValueError):
            return False

    @classmethod
    def open(cls, source: Any, options: LoadOptions) -> DeltaFolderSource:
        """Open the table at `options.version`, by default the newest.

        Raises:
            NotFoundError: The version does not exist.
        """
        path = Path(source).expanduser().absolute()
        label = f"Delta folder {path}"
        return cls(open_delta(str(path), version=options.version, label=label), label)


def write_jsonl(path: Path, rows: Iterator[Mapping[str, Any]]) -> None:
    """Write rows to a new file of JSON lines; an interrupted call leaves no file.

    Raises:
        AlreadyExistsError: The file exists.
        SchemaError: A row cannot be written as JSON.
    """
    _check_absent(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("w", encoding="utf-8") as file:
            for row in rows:
                file.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")
        partial.replace(path)
    except (TypeError, ValueError) as error:
        msg = f"{path} was not written: JSON does not support a value of a record ({error})."
        raise SchemaError(msg) from error
    finally:
        partial.unlink(missing_ok=True)


def export_template(path: Path) -> Path:
    """Write the commented YAML template.

    Returns:
        `path`.

    Raises:
        AlreadyExistsError: The file exists.
    """
    _check_absent(path)
    text = files("langchain_dbx_eval.datasets.sources").joinpath("template.yaml").read_text("utf-8")
    path.write_text(text, encoding="utf-8")
    return path


def _check_absent(path: Path) -> None:
    if path.exists():
        msg = f"The file {path} already exists. Delete it, or choose another name."
        raise AlreadyExistsError(msg)
    path.parent.mkdir(parents=True, exist_ok=True)


def _read_json_lines(path: Path) -> Iterator[Any]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            text = line.removeprefix(b"\xef\xbb\xbf").strip()
            if not text:
                continue
            try:
                yield json.loads(text)
            except (ValueError, RecursionError) as error:
                yield SchemaError(f"{path}, line {number}: expected one JSON object ({error}).")


def _read_json(path: Path) -> Iterator[Any]:
    try:
        rows = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise _parse_error(path, "JSON", error) from error
    return _iterate_list(rows, path)


def _read_yaml(path: Path) -> Iterator[Any]:
    require("yaml", extra="delta")
    import yaml

    try:
        rows = yaml.load(path.read_text("utf-8-sig"), Loader=yaml_loader())  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise _parse_error(path, "YAML", error) from error
    return _iterate_list(rows, path)


@functools.cache
def yaml_loader() -> Any:
    """Return a safe loader for YAML 1.2.

    PyYAML implements YAML 1.1, in which ``no`` is false and ``2026-11-21`` is a date.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - an attribute of PyYAML

    for tag, (pattern, first) in _YAML_SCALARS.items():
        regex = re.compile(rf"^(?:{pattern})$")
        Loader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", regex, first)
    return Loader


def _read_csv(path: Path) -> Iterator[Any]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        try:
            for row in reader:
                if None in row or None in row.values():
                    yield SchemaError(
                        f"{path}, line {reader.line_num}: expected {len(reader.fieldnames or ())} "
                        "cells, as in the header."
                    )
                else:
                    yield {name: cell or None for name, cell in row.items()}
        except (csv.Error, UnicodeDecodeError) as error:
            raise _parse_error(path, f"CSV at line {reader.line_num}", error) from error


def _read_parquet(path: Path) -> Iterator[Any]:
    pyarrow = require("pyarrow", extra="delta")
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(1_000):
                yield from batch.to_pylist(maps_as_pydicts="strict")
    except pyarrow.ArrowException as error:
        raise _parse_error(path, "Parquet", error) from error


def _iterate_list(rows: Any, path: Path) -> Iterator[Any]:
    if not isinstance(rows, list):
        msg = f"{path}: expected a list of records, got {describe_value(rows)}."
        raise SchemaError(msg)
    return iter(rows)


def _parse_error(path: Path, format_: str, error: Exception) -> SchemaError:
    return SchemaError(f"{path} cannot be read as {format_}: {error}.")


_READERS: dict[str, Callable[[Path], Iterator[Any]]] = {
    ".jsonl": _read_json_lines,
    ".ndjson": _read_json_lines,
    ".json": _read_json,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
    ".yaml": _read_yaml,
    ".yml": _read_yaml,
}
