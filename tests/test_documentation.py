"""The code of the README and the docs runs, their commands exist, and their links are valid."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from langchain_dbx_eval.cli.parser import build_parser

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("**/*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    text = page.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


PAGES_WITH_CODE = [page for page in PAGES if blocks(page, "python")]
COMMANDS = [
    line
    for page in PAGES
    for block in blocks(page, "sh")
    for line in block.splitlines()
    if line and not line.startswith("#")
]


@pytest.mark.timeout(600)  # includes the wait for port 7777
@pytest.mark.xdist_group("port 7777")
@pytest.mark.usefixtures("mlflow_store", "documented_port", "_restored_log_levels")
@pytest.mark.filterwarnings("ignore:Without an API key")
@pytest.mark.parametrize("page", PAGES_WITH_CODE, ids=lambda page: page.name)
def test_the_code_of_a_page_runs_from_top_to_bottom(page: Path) -> None:
    namespace: dict[str, object] = {"__name__": "__main__"}
    for number, block in enumerate(blocks(page, "python"), start=1):
        exec(compile(block, f"{page.name}, block {number}", "exec"), namespace)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_a_page_exists(command: str) -> None:
    program, *words = shlex.split(command)
    if program == "make":
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        targets = [word for word in words if "=" not in word]
        assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)
    elif program == "langchain-dbx-eval":
        build_parser().parse_args(words)
    elif program == "python":
        script = words[0] if words[0] != "-m" else words[1].replace(".", "/")
        assert any((ROOT / f"{script}{suffix}").exists() for suffix in ("", ".py"))
    else:
        assert program in {"pip", "pre-commit", "mlflow", "curl", "databricks", "export", "vllm"}


def test_every_link_between_pages_is_valid() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_test_that_the_security_page_names_exists() -> None:
    text = (ROOT / "docs/security.md").read_text(encoding="utf-8")
    names = re.findall(r"`(tests/[^`]+)::(\w+)`", text)
    assert len(names) > 50
    for path, name in names:
        assert f"def {name}(" in (ROOT / path).read_text(encoding="utf-8"), name


def test_every_exception_from_a_security_rule_has_a_reason() -> None:
    sources = (ROOT / "langchain_dbx_eval").glob("**/*.py")
    lines = [line for path in sources for line in path.read_text(encoding="utf-8").splitlines()]
    exceptions = [line for line in lines if re.search(r"# noqa: S\d", line)]
    assert exceptions
    assert [line for line in exceptions if not re.search(r"# noqa: S\d+ - \w", line)] == []


def test_every_path_in_contributing_exists() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    paths = re.findall(r"`((?:langchain_dbx_eval|tests|benchmarks|docs|scripts|\.ci)/[^`]*)`", text)
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_contributing_lists_every_folder_of_the_package() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    package = ROOT / "langchain_dbx_eval"
    folders = [path.parent.relative_to(ROOT) for path in package.glob("**/__init__.py")]
    assert [str(f) for f in folders if f"`{f}/`" not in text] == []
