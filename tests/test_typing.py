"""A user's script: its type checkers and its IDE know every documented argument."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from langchain_dbx_eval import ChatDatabricks, Databricks, DatabricksEmbeddings, errors
from langchain_dbx_eval.chat_models import ChatArguments
from langchain_dbx_eval.embeddings import EmbeddingsArguments
from langchain_dbx_eval.llms import TextArguments

SCRIPT = """\
from langchain_core.messages import AIMessage
from langchain_dbx_eval import ChatDatabricks, Databricks, DatabricksEmbeddings

Databricks(host="h", api_token="t", endpoint_name="m", model_kwargs={"top_k": 5})
Databricks(api_key="t", cluster_id="c", cluster_driver_port="7777", driver_api_key="k")
Databricks(endpoint_name="m", profile="p")
Databricks(endpoint_name="m", profile_name="p", transform_input_fn=lambda **request: request)
DatabricksEmbeddings(endpoint="m", query_params={"instruction": "Find"})
DatabricksEmbeddings(model="m", chunk_size=20)
ChatDatabricks(endpoint="m", extra_params={"top_p": 0.9})
chat = ChatDatabricks(model="m", temperature=0.1, max_tokens=5, profile="p", name="n", tags=["t"])
answer: AIMessage = chat.invoke("hi")
"""
MISTAKES = """\
from langchain_dbx_eval import ChatDatabricks, DatabricksEmbeddings

ChatDatabricks(modle="m")
DatabricksEmbeddings(endpoint=1)
"""
# Kept between runs. Without it, mypy reads langchain-core for seconds, and for a minute what no
# argument depends on.
CACHE = Path(__file__).parents[1] / ".mypy_cache" / "user-script"
MYPY_SETTINGS = """\
[mypy]
strict = True
[mypy-databricks.*,langsmith.*,mlflow.*,numpy.*,pandas.*,pyspark.*,requests.*,torch.*,transformers.*]
follow_imports = skip
"""
COMMANDS = {
    "mypy": ["mypy", "--config-file=mypy.ini", f"--cache-dir={CACHE}"],
    "pyright": ["pyright", "--pythonpath", sys.executable],
}
COMPONENTS = pytest.mark.parametrize(
    ("component", "arguments"),
    [
        (Databricks, TextArguments),
        (ChatDatabricks, ChatArguments),
        (DatabricksEmbeddings, EmbeddingsArguments),
    ],
    ids=lambda value: value.__name__,
)


@pytest.mark.parametrize("checker", COMMANDS)
def test_a_type_checker_accepts_the_documented_arguments_only(checker: str, tmp_path: Path) -> None:
    checked = _check(checker, tmp_path, SCRIPT)
    assert checked.returncode == 0, checked.stdout
    lines = _check(checker, tmp_path, MISTAKES).stdout.splitlines()
    found = [line.split(":")[1] for line in lines if "script.py:" in line and "error" in line]
    assert found == ["3", "4"]


def _check(checker: str, folder: Path, script: str) -> subprocess.CompletedProcess[str]:
    (folder / "script.py").write_text(script, encoding="utf-8")
    (folder / "mypy.ini").write_text(MYPY_SETTINGS, encoding="utf-8")
    return subprocess.run(
        [sys.executable, "-m", *COMMANDS[checker], "script.py"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


@COMPONENTS
def test_the_signature_has_every_argument_that_type_checkers_know(
    component: type[Any], arguments: Any
) -> None:
    assert inspect.signature(component).parameters.keys() == arguments.__optional_keys__


@COMPONENTS
def test_both_names_of_an_argument_set_its_field(component: type[Any], arguments: Any) -> None:
    for other, name in component.OTHER_NAMES.items():
        given = {component.ENDPOINT_FIELD: "m", name: "x"}
        by_name = getattr(component(**given), name)
        given.pop(name)
        assert getattr(component(**given, **{other: "x"}), name) == by_name


def test_two_values_for_the_two_names_of_an_argument_are_an_error() -> None:
    with pytest.raises(errors.ConfigurationError, match="model= and endpoint="):
        ChatDatabricks(model="m", endpoint="n")
