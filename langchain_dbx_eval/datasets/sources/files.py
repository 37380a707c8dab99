"""Files of records: ``.jsonl``, ``.json``, ``.csv``, ``.parquet``, ``.yaml``, and Delta folders."""

from __future__ import annotations

import contextlib
import csv
import functools
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from langchain_dbx_eval._internal.imports import require
from langchain_dbx_eval._internal.paths import expand_user
from langchain_dbx_eval.datasets.base import LoadOptions, OpenDataset
from langchain_dbx_eval.datasets.delta.reader import (
    DeltaSource,
    is_delta_folder,
    open_delta,
    read_batches,
)
from langchain_dbx_eval.datasets.record import describe_value, parse_json_strictly
from langchain_dbx_eval.datasets.schema.validation import check_columns
from langchain_dbx_eval.errors import (
    AlreadyExistsError,
    ConfigurationError,
    DatabricksError,
    NotFoundError,
    SchemaError,
)

__all__ = [
    "URL_ADVICE",
    "DeltaFolderSource",
    "FileSource",
    "export_template",
    "is_url",
    "write_jsonl",
    "yaml_loader",
]

URL_ADVICE = (
    "Only files of this machine can: download it, or pass the path of a volume, /Volumes/…."
)
# A cell of a CSV file: what fits into C's `long` on each platform.
_MAX_CELL = (1 << 31) - 1
# Strings (also one that is not closed), and what separates values.
_JSON_TOKENS = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\Z)|[\[\]{},]', re.DOTALL)
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
        if not isinstance(source, str):
            return isinstance(source, os.PathLike)
        try:
            is_path = Path(source).suffix.lower() in _READERS or Path(source).exists()
        except (OSError, ValueError):
            return False
        return is_path and bool(source.strip())

    @classmethod
    def open(cls, source: Any, _: LoadOptions) -> FileSource:
        """Open a file.

        Raises:
            NotFoundError: The file does not exist.
            ConfigurationError: Its format is not supported.
        """
        if is_url(str(source)):
            raise ConfigurationError(f"{source} cannot be read. {URL_ADVICE}")
        path = expand_user(source).absolute()
        if path.is_dir():
            msg = f"{path} is a folder, and no Delta table. Pass the path of one of its files."
            raise ConfigurationError(msg)
        if not path.is_file():
            msg = f"There is no file {path}."
            if str(source).count(".") == 2 and "/" not in str(source):
                msg += " For a table of this name, use back-ticks: a.b.`csv`."
            raise NotFoundError(msg)
        if path.suffix.lower() not in _READERS:
            msg = (
                f"The format of {path} is not supported. Supported formats: {', '.join(_READERS)}."
            )
            raise ConfigurationError(msg)
        return cls(path)

    def rows(self) -> Iterator[Any]:
        """See `OpenDataset`; an invalid line is a `SchemaError` among the rows.

        Raises:
            SchemaError: The file is not of the format of its suffix.
            DatabricksError: The file cannot be read.
        """
        try:
            yield from self._read(self._path)
        except OSError as error:
            msg = f"{self._path} cannot be read: {error}. Check its permissions."
            raise DatabricksError(msg) from error


class DeltaFolderSource(DeltaSource):
    """A folder with a Delta table of any schema."""

    accepts = "the path of a Delta folder"

    @staticmethod
    def matches(source: Any, _: LoadOptions) -> bool:
        """See `DatasetSource`."""
        if not isinstance(source, str | os.PathLike) or isinstance(source, bytes):
            return False
        try:
            return is_delta_folder(expand_user(source))
        except (OSError, ValueError):
            return False

    @classmethod
    def open(cls, source: Any, options: LoadOptions) -> DeltaFolderSource:
        """Open the table at `options.version`, by default the newest.

        Raises:
            NotFoundError: The version does not exist.
        """
        path = expand_user(source).absolute()
        label = f"Delta folder {path}"
        return cls(open_delta(str(path), version=options.version, label=label), label)


def is_url(text: str) -> bool:
    """Return whether a string starts with the scheme of a URL."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", text) is not None


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
    except OSError as error:
        raise _write_error(path, error) from error
    except (TypeError, ValueError) as error:
        msg = f"{path} was not written: JSON does not support a value of a record ({error})."
        raise SchemaError(msg) from error
    finally:
        with contextlib.suppress(OSError):
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
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise _write_error(path, error) from error
    return path


def _check_absent(path: Path) -> None:
    if path.exists():
        msg = f"The file {path} already exists. Delete it, or choose another name."
        raise AlreadyExistsError(msg)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _write_error(path, error) from error


def _write_error(path: Path, error: OSError) -> ConfigurationError:
    return ConfigurationError(f"{path} cannot be written: {error}.")


def _read_json_lines(path: Path) -> Iterator[Any]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            text = line.removeprefix(b"\xef\xbb\xbf").strip()
            if not text:
                continue
            yield _parse_item(text, f"{path}, line {number}")


def _read_json(path: Path) -> Iterator[Any]:
    content = path.read_bytes()
    try:
        rows = parse_json_strictly(content)
    except SchemaError:
        # Only the row that contains it is invalid.
        text = content.decode(json.detect_encoding(content))
        items = enumerate(_split_array(text))
        return (_parse_item(item, f"{path}, row {index}") for index, item in items)
    except ValueError as error:
        raise _parse_error(path, "JSON", error) from error
    if not isinstance(rows, list):
        msg = (
            f"{path}: expected a list of records, got {describe_value(rows)}. A file with one "
            "record per line is a .jsonl file."
        )
        raise SchemaError(msg)
    return iter(rows)


def _parse_item(text: str | bytes, label: str) -> Any:
    """Return the value of a JSON text, or its error."""
    try:
        return parse_json_strictly(text)
    except SchemaError as error:
        return SchemaError(f"{label}: {error}")
    except ValueError as error:
        return SchemaError(f"{label}: expected one JSON object ({error}).")


def _split_array(text: str) -> Iterator[str]:
    """Split a JSON array into the texts of its items; any other value has none or one."""
    depth = start = 0
    for token in _JSON_TOKENS.finditer(text):
        character = token[0][0]
        if depth == 1 and character in ",]":
            yield text[start : token.start()]
            start = token.end()
        if character in "[{":
            depth += 1
            start = token.end() if depth == 1 else start
        elif character in "]}":
            depth -= 1


def _read_yaml(path: Path) -> Iterator[Any]:
    require("yaml", extra="delta")
    import yaml

    loader = None
    try:
        loader = yaml_loader()(path.read_text("utf-8-sig"))
        root = loader.get_single_node()
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise _parse_error(path, "YAML", error) from error
    if not isinstance(root, yaml.SequenceNode) or root.tag != "tag:yaml.org,2002:seq":
        msg = f"{path}: expected a list of records ('- request: …'), got another YAML value."
        raise SchemaError(msg)
    for item in root.value:
        try:
            row = loader.construct_document(item)
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            # A tag that is not supported, a duplicate key, an integer of too many digits.
            row = SchemaError(f"{path}, line {item.start_mark.line + 1}: {error}")
        yield row


@functools.cache
def yaml_loader() -> Any:
    """Return a safe loader for YAML 1.2.

    PyYAML implements YAML 1.1, in which ``no`` is false and ``2026-11-21`` is a date.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - an attribute of PyYAML

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            for name in names:
                if names.count(name) > 1:
                    msg = f"the key {name!r} appears more than once. Keep one of them."
                    raise yaml.constructor.ConstructorError(None, None, msg, node.start_mark)
            return super().construct_mapping(node, deep)

    for tag, (pattern, first) in _YAML_SCALARS.items():
        regex = re.compile(rf"^(?:{pattern})$")
        Loader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", regex, first)
    return Loader


def _read_csv(path: Path) -> Iterator[Any]:
    # 131,072 characters by default, for the whole process; a document may be longer.
    csv.field_size_limit(max(csv.field_size_limit(), _MAX_CELL))
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        try:
            reader.fieldnames = _check_header(
                [name.strip() for name in reader.fieldnames or ()], path
            )
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
            check_columns(file.schema_arrow.names, f"{path}")
            yield from read_batches(file.iter_batches(1_000))
    except pyarrow.ArrowException as error:
        raise _parse_error(path, "Parquet", error) from error


def _check_header(names: list[str], path: Path) -> list[str]:
    if not names:
        raise SchemaError(f"{path} is empty: expected a line with the names of the columns.")
    check_columns(names, f"{path}, line 1")
    for character, separators in ((";", "semicolons"), ("\t", "tabs")):
        if len(names) == 1 and character in names[0]:
            msg = f"{path}, line 1: expected commas between the columns, got {separators}."
            raise SchemaError(msg)
    return names


def _parse_error(path: Path, format_: str, error: Exception) -> SchemaError:
    if isinstance(error, RecursionError):
        return SchemaError(f"{path} cannot be read as {format_}: a value is nested too deeply.")
    advice = " Save it as UTF-8." if isinstance(error, UnicodeDecodeError) else ""
    if "Extra data" in str(error):
        advice = " A file with one record per line is a .jsonl file: rename it."
    return SchemaError(f"{path} cannot be read as {format_}: {error}.{advice}")


_READERS: dict[str, Callable[[Path], Iterator[Any]]] = {
    ".jsonl": _read_json_lines,
    ".ndjson": _read_json_lines,
    ".json": _read_json,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
    ".yaml": _read_yaml,
    ".yml": _read_yaml,
}
