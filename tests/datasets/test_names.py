"""Three-level names: what is one, and what would reach outside the catalog."""

from __future__ import annotations

from pathlib import Path

import pytest

from langchain_dbx_eval.datasets.names import TableName
from langchain_dbx_eval.errors import ConfigurationError


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("main.default.questions", ("main", "default", "questions")),
        ("Main.Default.Questions", ("main", "default", "questions")),
        ("main.`my-schema`.questions", ("main", "my-schema", "questions")),
        ("메인.기본.질문", ("메인", "기본", "질문")),
    ],
)
def test_a_name_is_taken_apart(text: str, parts: tuple[str, str, str]) -> None:
    name = TableName.parse(text)
    assert (name.catalog, name.schema, name.table) == parts


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "a.b",
        "a.b.c.d",
        "a..c",
        "a.b.",
        "../x.b.c",
        "a.b.c/d",
        "a.b.`..`",
        "a.b.c\x00",
        "a.b.c d",
    ],
)
def test_what_is_no_name_or_leaves_the_catalog_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError):
        TableName.parse(text)


def test_a_folder_lies_in_the_catalog(tmp_path: Path) -> None:
    folder = TableName.parse("a.b.c").folder(tmp_path)
    assert folder == tmp_path / "a" / "b" / "c"
