"""Three-level names, ``catalog.schema.table``: read once, rendered for each use."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from langchain_dbx_eval.errors import ConfigurationError

__all__ = ["TableName", "looks_like_table_name"]

_PART = r"(?:`(?:[^`]|``)+`|[^.`]+)"
_NAME = re.compile(rf"({_PART})\.({_PART})\.({_PART})", re.DOTALL)
# Unity Catalog refuses spaces, slashes and control characters in a name (Databricks, "Names",
# "Object names"); Windows refuses a few more in a folder's.
_REFUSED = frozenset('/\\:*?"<>|')
# Controls, invisible formats, surrogates, private and unassigned characters, and all separators.
_REFUSED_CATEGORIES = ("C", "Z")
_LONGEST = 255
_FILE_SUFFIXES = frozenset({"csv", "json", "jsonl", "ndjson", "parquet", "yaml", "yml"})


@dataclass(frozen=True)
class TableName:
    """A table's full name, taken apart.

    Attributes:
        catalog: Its first level.
        schema: Its second level.
        table: Its third level.
    """

    catalog: str
    schema: str
    table: str

    @classmethod
    def parse(cls, text: str) -> TableName:
        """Read a name such as ``main.default.questions`` or ``main.`my-schema`.questions``.

        Args:
            text: Three levels with dots between them. A level may stand in back-ticks, and must
                where it has a dot of its own; two back-ticks inside stand for one.

        Returns:
            The name in lower case, in which Unity Catalog keeps names (it finds them in any).

        Raises:
            ConfigurationError: It is not a name of three levels, or a level has a character that
                no table, URL or folder may have.
        """
        match = _NAME.fullmatch(text.strip())
        if match is None:
            msg = f"{text!r} is not a three-level table name: {_why_not(text)}."
            raise ConfigurationError(msg)
        # One composed form: 'é' typed as two characters is the same name.
        parts = [unicodedata.normalize("NFC", _unquote(part)).lower() for part in match.groups()]
        for part in parts:
            if problem := _problem(part):
                msg = f"The table name {text!r} cannot be used: its level {part!r} {problem}."
                raise ConfigurationError(msg)
        return cls(*parts)

    @property
    def parts(self) -> tuple[str, str, str]:
        """The three levels."""
        return self.catalog, self.schema, self.table

    @property
    def sql(self) -> str:
        """The name as SQL, each level in back-ticks, so that none of it is read as SQL."""
        return ".".join(_quote(part) for part in self.parts)

    @property
    def rest(self) -> str:
        """The name as Unity Catalog's REST API takes it: plain, with dots.

        Raises:
            ConfigurationError: A level has a dot, which the API could not tell from the others.
        """
        if any("." in part for part in self.parts):
            msg = f"Unity Catalog has no table {self}: no level of a name there may have a dot."
            raise ConfigurationError(msg)
        return ".".join(self.parts)

    def folder(self, root: Path) -> Path:
        """Where the table lies in a local catalog."""
        return root.joinpath(*self.parts)

    def __str__(self) -> str:
        """The name as `parse` reads it, with back-ticks only where they are needed."""
        return ".".join(_quote(part) if re.search(r"[.`]", part) else part for part in self.parts)


def looks_like_table_name(text: str) -> bool:
    """Whether a string is meant as a table's name rather than as a path, a file or a URI."""
    match = _NAME.fullmatch(text.strip())
    if match is None or re.search(r"[/\\\n]", text):
        return False
    return match.group(3).lower() not in _FILE_SUFFIXES


def _why_not(text: str) -> str:
    if text.count("`") % 2:
        return "a back-tick is not closed"
    levels = re.sub(r"`[^`]*`", "x", text.strip()).split(".")
    if all(levels) and len(levels) != 3:
        words = "has 1 level" if len(levels) == 1 else f"has {len(levels)} levels"
        return f"it {words}; give 'catalog.schema.table', such as 'main.default.questions'"
    return "a level is empty; give 'catalog.schema.table', such as 'main.default.questions'"


def _problem(part: str) -> str | None:
    if set(part) <= {"."} or part.startswith(".") or part.endswith("."):
        return "begins or ends with a dot, which would reach another folder"
    if len(part.encode("utf-8", "surrogatepass")) > _LONGEST:
        return f"is longer than {_LONGEST} bytes"
    for character in part:
        category = unicodedata.category(character)
        if character in _REFUSED or category.startswith(_REFUSED_CATEGORIES):
            name = unicodedata.name(character, f"character U+{ord(character):04X}").lower()
            return f"has a {name} ({character!r}), which no name may have"
    return None


def _quote(part: str) -> str:
    return "`" + part.replace("`", "``") + "`"


def _unquote(part: str) -> str:
    return part[1:-1].replace("``", "`") if part.startswith("`") else part
