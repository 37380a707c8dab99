"""Three-level names of Unity Catalog: ``catalog.schema.table``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from langchain_dbx_eval.errors import ConfigurationError

__all__ = ["TableName", "looks_like_table_name"]

_PART = r"(?:`(?:[^`]|``)+`|[^.`]+)"
_NAME = re.compile(rf"({_PART})\.({_PART})\.({_PART})")
# Unity Catalog's own rules for object names: no slash, no space, no dot (outside quotes: that
# separates), no control character. Windows also refuses a few of the rest in folder names.
_REFUSED = re.compile(r"[\x00-\x20\x7f/\\.:*?\"<>|]")


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

        Raises:
            ConfigurationError: It is not a name of three levels, or a level has a character that
                no table, URL or folder may have.
        """
        match = _NAME.fullmatch(text.strip())
        if match is None:
            msg = (
                f"{text!r} is not a three-level table name. "
                "Give 'catalog.schema.table', such as 'main.default.questions'."
            )
            raise ConfigurationError(msg)
        parts = [_unquote(part) for part in match.groups()]
        for part in parts:
            if bad := _REFUSED.search(part):
                msg = f"The table name {text!r} has {bad.group()!r} in {part!r}, which no name may."
                raise ConfigurationError(msg)
        # Unity Catalog stores names in lower case, and finds them in any.
        return cls(*(part.lower() for part in parts))

    def folder(self, root: Path) -> Path:
        """Where the table lies in a local catalog."""
        return root / self.catalog / self.schema / self.table

    def __str__(self) -> str:
        return f"{self.catalog}.{self.schema}.{self.table}"


def looks_like_table_name(text: str) -> bool:
    """Whether a string is meant as a table's name rather than as a path or a URI."""
    return _NAME.fullmatch(text.strip()) is not None and not re.search(r"[/\\]", text)


def _unquote(part: str) -> str:
    return part[1:-1].replace("``", "`") if part.startswith("`") else part
