"""The settings of a run, from a file and from arguments."""

from __future__ import annotations

import difflib
import os
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from langchain_dbx_eval._internal.imports import load_object, require
from langchain_dbx_eval._internal.paths import expand_user
from langchain_dbx_eval.errors import ConfigurationError, NotFoundError

__all__ = ["RunConfig", "RunSettings", "load_model", "load_scorer", "read_file"]

# `$${NAME}` is the text `${NAME}`.
_VARIABLE = re.compile(r"(\$?)\$\{(\w+)\}")
# What others call these keys.
_OTHER_NAMES = {
    "dataset": "data",
    "concurrency": "max_concurrency",
    "budget": "max_cost",
    "conditions": "check",
    "gate": "check",
    "experiment": "experiment_name",
    "metrics": "judges",
}


class RunConfig(BaseModel):
    """The keys of the file, which are the arguments of `evaluate` of the same names.

    Paths are relative to the folder of the file. `docs/cli.md` describes the keys.
    """

    model_config = ConfigDict(extra="forbid", strict=False, arbitrary_types_allowed=True)

    model: str | None = None
    data: str | list[dict[str, Any]]
    input_fn: str | None = None
    judge: str | None = None
    judges: list[str] | None = None
    global_guidelines: list[str] | dict[str, list[str]] | None = None
    scorers: list[str] | None = None
    extra_metrics: list[str] | None = None
    max_concurrency: int = 32
    timeout: float | None = None
    repeat: int = 1
    max_tokens: int | None = None
    max_cost: float | None = None
    prices: str | dict[str, dict[str, float]] | None = None
    judge_cache: str | None = None
    judge_repeats: int = 1
    run_name: str | None = None
    experiment_name: str | None = None
    tracking_uri: str | None = None
    check: list[str] = []
    baseline: str | None = None
    report: str | None = None


class RunSettings(BaseModel):
    """The settings of a run as they are written: what the journal stores for ``resume``.

    The variables of the environment are not replaced, so that no secret is stored.

    Attributes:
        values: The keys of the file, and the arguments that replace some.
        folder: The folder that paths in the file are relative to.
        working_folder: The folder in which the command was run: modules are also found there.
        source: The file; None: arguments alone.
    """

    values: dict[str, Any]
    folder: Path
    working_folder: Path
    source: Path | None = None

    @classmethod
    def collect(cls, file: Path | None, arguments: Mapping[str, Any]) -> RunSettings:
        """Read the file, and let arguments that are given replace its keys.

        Raises:
            ConfigurationError: The file cannot be read.
            NotFoundError: It does not exist.
        """
        values = read_file(file) if file is not None else {}
        given = {name: value for name, value in arguments.items() if value not in (None, [])}
        for name in ("data", "prices", "report"):
            # Paths of arguments are relative to the working folder, those of the file to its own.
            if name in given and (name == "report" or Path(given[name]).exists()):
                given[name] = str(Path(given[name]).absolute())
        folder = file.absolute().parent if file is not None else Path.cwd()
        return cls(
            values={**values, **given}, folder=folder, working_folder=Path.cwd(), source=file
        )

    def parse(self) -> RunConfig:
        """Replace ``${NAME}`` by the variables of the environment, and check all keys.

        Raises:
            ConfigurationError: A key is unknown or missing, a value has a wrong type, or a variable
                is not set.
        """
        where = str(self.source) if self.source is not None else "the arguments"
        for name in self.values:
            if name not in RunConfig.model_fields:
                raise ConfigurationError(f"{where}: unknown key {name!r}. {_near(name)}")
        values = {
            name: value if name == "data" and isinstance(value, list) else _expand(value, name)
            for name, value in self.values.items()
        }
        if isinstance(values.get("check"), str):
            values["check"] = [values["check"]]
        if "data" not in values:
            msg = f"{where}: 'data' is missing: a file, or a table such as main.default.questions."
            raise ConfigurationError(msg)
        try:
            return RunConfig.model_validate(values)
        except ValidationError as error:
            # The first error of the first key: those of the other types of a union only confuse.
            first = error.errors(include_url=False)[0]
            key = ".".join(str(part) for part in first["loc"] if part not in ("str", "list[str]"))
            value = f"{first['input']!r:.80}"
            raise ConfigurationError(f"{where}: {key}: {first['msg']}, got {value}.") from None

    def path(self, text: str) -> str | Path:
        """Return a file of the run by its path, and any other text unchanged."""
        file = self.folder / expand_user(text)
        return file if file.exists() else text

    def add_to_import_path(self) -> None:
        """Make the modules beside the file, and in the working folder, importable."""
        for folder in (self.working_folder, self.folder):
            if str(folder) not in sys.path:
                sys.path.insert(0, str(folder))


def load_model(text: str | None) -> Any:
    """Return the argument `model` of `evaluate`: a URI stays one, ``module:object`` is imported.

    Raises:
        ConfigurationError: It cannot be imported.
    """
    return text if text is None or ":/" in text else load_object(text)


def load_scorer(text: str) -> Any:
    """Return a scorer: ``module:object``, or the name of one of `langchain_dbx_eval.scoring`.

    Raises:
        ConfigurationError: It cannot be imported, or there is none of this name.
    """
    from langchain_dbx_eval import scoring

    if ":" in text:
        found = load_object(text)
    elif (found := getattr(scoring, text, None)) is None or text not in scoring.metrics.__all__:
        msg = (
            f"There is no scorer {text!r}. Give module:object, or one of "
            f"{', '.join(sorted(scoring.metrics.__all__))}."
        )
        raise ConfigurationError(msg)
    return found() if isinstance(found, type) else found


def read_file(path: Path) -> dict[str, Any]:
    """Read a file of settings.

    Raises:
        NotFoundError: It does not exist.
        ConfigurationError: It is not a table of keys in YAML, TOML or JSON.
    """
    if not path.is_file():
        msg = f"There is no file {path}. `langchain-dbx-eval init` writes one to start with."
        raise NotFoundError(msg)
    parse = _PARSERS.get(path.suffix.lower())
    if parse is None:
        msg = f"{path}: expected a file with the suffix {', '.join(_PARSERS)}."
        raise ConfigurationError(msg)
    try:
        values = parse(path.read_text("utf-8-sig"))
    except Exception as error:  # the parsers raise several classes of exceptions
        raise ConfigurationError(f"{path} cannot be read: {error}") from error
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        msg = f"{path}: expected keys with values, such as 'data: questions.jsonl'."
        raise ConfigurationError(msg)
    return values


def _parse_yaml(text: str) -> Any:
    yaml = require("yaml", extra="eval")
    from langchain_dbx_eval.datasets.sources.files import yaml_loader

    return yaml.load(text, Loader=yaml_loader())


def _parse_toml(text: str) -> Any:
    module = "tomllib" if sys.version_info >= (3, 11) else "tomli"
    return require(module, extra="eval").loads(text)


_PARSERS: dict[str, Callable[[str], Any]] = {
    ".yaml": _parse_yaml,
    ".yml": _parse_yaml,
    ".json": _parse_yaml,  # JSON is a subset of YAML 1.2
    ".toml": _parse_toml,
}


def _expand(value: Any, where: str) -> Any:
    if isinstance(value, Mapping):
        return {name: _expand(item, f"{where}.{name}") for name, item in value.items()}
    if isinstance(value, list):
        return [_expand(item, where) for item in value]
    if not isinstance(value, str):
        return value

    def replace(match: re.Match[str]) -> str:
        if match[1]:
            return match[0][1:]
        if match[2] not in os.environ:
            msg = (
                f"{where}: the environment variable {match[2]} is not set. Set it, or write it "
                "into the file .env."
            )
            raise ConfigurationError(msg)
        return os.environ[match[2]]

    return _VARIABLE.sub(replace, value)


def _near(name: str) -> str:
    known = list(RunConfig.model_fields)
    near = difflib.get_close_matches(name, known, n=2)
    if name in _OTHER_NAMES:
        near = [_OTHER_NAMES[name]]
    hint = f"Did you mean {' or '.join(map(repr, near))}? " if near else ""
    return f"{hint}Keys: {', '.join(known)}."
