"""Parsing, validation and rendering of three-level names."""

from __future__ import annotations

from pathlib import Path

import pytest

from langchain_dbx_eval.datasets.schema.table_name import TableName
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
def test_a_name_is_parsed_into_three_levels(text: str, parts: tuple[str, str, str]) -> None:
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
def test_a_text_that_is_not_a_name_or_leaves_the_catalog_is_rejected(text: str) -> None:
    with pytest.raises(ConfigurationError):
        TableName.parse(text)


def test_the_folder_of_a_table_is_in_the_catalog(tmp_path: Path) -> None:
    folder = TableName.parse("a.b.c").folder(tmp_path)
    assert folder == tmp_path / "a" / "b" / "c"


def test_a_name_is_rendered_for_sql_rest_and_display() -> None:
    name = TableName.parse("Main.`my-schema`.`a``b`")
    assert name.sql == "`main`.`my-schema`.`a``b`"
    assert name.rest == "main.my-schema.a`b"
    assert str(name) == "main.my-schema.`a``b`"


def test_a_dot_in_back_ticks_is_part_of_a_level(tmp_path: Path) -> None:
    name = TableName.parse("main.default.`v1.2`")
    assert (name.table, str(name)) == ("v1.2", "main.default.`v1.2`")
    assert name.folder(tmp_path) == tmp_path / "main" / "default" / "v1.2"
    with pytest.raises(ConfigurationError, match="dot"):
        _ = name.rest


def test_composed_and_decomposed_characters_are_the_same_name() -> None:
    assert TableName.parse("main.default.caf\u00e9") == TableName.parse("main.default.cafe\u0301")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("main.questions", "2 levels"),
        ("a.b.c.d", "4 levels"),
        ("main..q", "level is empty"),
        ("main.default.`q", "not closed"),
        ("main.default.`.`", "dot"),
        ("main.default.`..`", "dot"),
        ("main.default.a\u202eb", "right-to-left override"),
        ("main.default.a b", "space"),
        ("main.default.a/b", "solidus"),
        ("main.default." + "x" * 300, "longer"),
    ],
)
def test_the_error_of_an_invalid_name_describes_the_problem(text: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        TableName.parse(text)
