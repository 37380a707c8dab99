"""Three-level table names, ``catalog.schema.table``: parsing, validation and rendering."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from langchain_dbx_eval.errors import ConfigurationError

__all__ = ["TableName", "looks_like_table_name"]

_PART = r"(?:`(?:[^`]|``)+`|[^.`]+)"
_NAME = re.compile(rf"({_PART})\.({_PART})\.({_PART})", re.DOTALL)
# Unity Catalog rejects spaces, slashes and control characters in a name (Databricks, "Names",
# "Object names"); Windows rejects some more in the name of a folder.
_INVALID = frozenset('/\\:*?"<>|')
# Unicode categories: controls, formats, surrogates, private and unassigned characters; separators.
_INVALID_CATEGORIES = ("C", "Z")
_MAX_BYTES = 255
_FILE_SUFFIXES = frozenset({"csv", "json", "jsonl", "ndjson", "parquet", "yaml", "yml"})


@dataclass(frozen=True)
class TableName:
    """A parsed three-level table name.

    Attributes:
        catalog: The first level.
        schema: The second level.
        table: The third level.
    """

    catalog: str
    schema: str
    table: str

    @classmethod
    def parse(cls, text: str) -> TableName:
        """Parse a name such as ``main.default.questions`` or ``main.`my-schema`.questions``.

        Args:
            text: Three levels, separated by dots. A level may be in back-ticks, and must be if it
                contains a dot; two back-ticks inside are one.

        Returns:
            The name in lower case: Unity Catalog stores names so, and finds them in any case.

        Raises:
            ConfigurationError: The text is not a three-level name, or a level has a character that
                is invalid in a table name, a URL or a folder name.
        """
        if not isinstance(text, str):
            msg = (
                f"A table name must be a string such as 'main.default.questions', got a value of "
                f"type {type(text).__name__}."
            )
            raise ConfigurationError(msg)
        match = _NAME.fullmatch(text.strip())
        if match is None:
            msg = f"{text!r} is not a three-level table name: {_explain_mismatch(text)}."
            raise ConfigurationError(msg)
        # NFC: an 'é' that was typed as two characters is the same name.
        parts = [unicodedata.normalize("NFC", _unquote(part)).lower() for part in match.groups()]
        for part in parts:
            if problem := _find_problem(part):
                msg = f"Invalid table name {text!r}: the level {part!r} {problem}."
                raise ConfigurationError(msg)
        return cls(*parts)

    @property
    def parts(self) -> tuple[str, str, str]:
        """The three levels."""
        return self.catalog, self.schema, self.table

    @property
    def sql(self) -> str:
        """The name as SQL, each level quoted in back-ticks, which prevents SQL injection."""
        return ".".join(_quote(part) for part in self.parts)

    @property
    def rest(self) -> str:
        """The name for Unity Catalog's REST API: unquoted.

        Raises:
            ConfigurationError: A level contains a dot, which the API interprets as a separator.
        """
        if any("." in part for part in self.parts):
            msg = f"{self} cannot exist in Unity Catalog: a level there may not contain a dot."
            raise ConfigurationError(msg)
        return ".".join(self.parts)

    def folder(self, root: Path) -> Path:
        """Return the table's folder in a local catalog at `root`."""
        return root.joinpath(*self.parts)

    def __str__(self) -> str:
        """Return the name as `parse` accepts it, quoted only where necessary."""
        return ".".join(_quote(part) if re.search(r"[.`]", part) else part for part in self.parts)


def looks_like_table_name(text: str) -> bool:
    """Return whether a string is a table name rather than a path, a file name or a URI."""
    match = _NAME.fullmatch(text.strip())
    if match is None or re.search(r"[/\\\n]", text.strip()):
        return False
    return match.group(3).lower() not in _FILE_SUFFIXES


def _explain_mismatch(text: str) -> str:
    if text.count("`") % 2:
        return "a back-tick is not closed"
    levels = re.sub(r"`[^`]*`", "x", text.strip()).split(".")
    problem = "a level is empty"
    if all(levels) and len(levels) != 3:
        problem = "it has 1 level" if len(levels) == 1 else f"it has {len(levels)} levels"
    return f"{problem}; pass 'catalog.schema.table', such as 'main.default.questions'"


def _find_problem(part: str) -> str | None:
    if set(part) <= {"."} or part.startswith(".") or part.endswith("."):
        return "starts or ends with a dot, which could address another folder"
    if len(part.encode("utf-8", "surrogatepass")) > _MAX_BYTES:
        return f"is longer than {_MAX_BYTES} bytes"
    for character in part:
        category = unicodedata.category(character)
        if character in _INVALID or category.startswith(_INVALID_CATEGORIES):
            name = unicodedata.name(character, f"character U+{ord(character):04X}").lower()
            return f"contains an invalid character: {name} ({character!r})"
    return None


def _quote(part: str) -> str:
    return "`" + part.replace("`", "``") + "`"


def _unquote(part: str) -> str:
    return part[1:-1].replace("``", "`") if part.startswith("`") else part
