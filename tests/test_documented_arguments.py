"""The pages of the three clients list every argument with its default."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from langchain_core.embeddings import Embeddings
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.language_models.llms import BaseLLM
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from langchain_dbx_eval import ChatDatabricks, Databricks, DatabricksEmbeddings

DOCS = Path(__file__).parents[1] / "docs"
COMPONENTS = [
    (Databricks, BaseLLM, "llm.md"),
    (ChatDatabricks, BaseChatModel, "chat.md"),
    (DatabricksEmbeddings, Embeddings, "embeddings.md"),
]
ROW = re.compile(r"^\| `(\w+)` \| [^|]+ \| `([^|]+)` \| .+ \|$", re.MULTILINE)


def tables_of(page: str) -> dict[str, str]:
    return dict(ROW.findall((DOCS / page).read_text(encoding="utf-8")))


def defaults_of(component: type[BaseModel]) -> dict[str, str]:
    found = {}
    for name, field in component.model_fields.items():
        default = field.get_default(call_default_factory=True)
        shown = "None" if default is PydanticUndefined else repr(default)
        found[name] = shown.replace("'", '"')
    return found


@pytest.mark.parametrize(("component", "base", "page"), COMPONENTS, ids=lambda value: str(value))
def test_a_page_lists_every_argument_with_its_default(
    component: type[BaseModel], base: type, page: str
) -> None:
    inherited = getattr(base, "model_fields", {})
    ours = {name: text for name, text in defaults_of(component).items() if name not in inherited}
    assert {**tables_of("connection.md"), **tables_of(page)} == ours


@pytest.mark.parametrize(("component", "base", "page"), COMPONENTS, ids=lambda value: str(value))
def test_a_page_names_every_argument_that_langchain_gives(
    component: type[BaseModel], base: type, page: str
) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    assert [name for name in getattr(base, "model_fields", {}) if f"`{name}`" not in text] == []


@pytest.mark.parametrize(("component", "base", "page"), COMPONENTS, ids=lambda value: str(value))
def test_a_page_names_every_other_name_of_an_argument(
    component: type[BaseModel], base: type, page: str
) -> None:
    text = "".join((DOCS / name).read_text(encoding="utf-8") for name in (page, "connection.md"))
    assert [name for name in component.OTHER_NAMES if f"`{name}`" not in text] == []
