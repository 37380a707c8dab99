"""The code of the README and the docs runs, their commands exist, and their links are valid.

The pages in Korean have the code of the English pages, which a test compares.
"""

from __future__ import annotations

import ast
import codeop
import contextlib
import inspect
import itertools
import re
import shlex
from pathlib import Path

import pytest
import typer
import yaml
from typer.main import get_command

from langchain_dbx_eval import errors
from langchain_dbx_eval.cli.app import app
from scripts.copy_code_blocks import BLOCK
from scripts.copy_code_blocks import pages as korean_pages
from scripts.try_extra import EXTRAS

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "langchain_dbx_eval"
KOREAN = [korean for korean, _ in korean_pages()]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("**/*.md")),
    ROOT / "README.ko.md",
    *sorted((ROOT / "examples").glob("*.md")),
]
# Links of the README, which is also shown by a package index, begin with this address.
REPOSITORY = "https://github.com/langchain-dbx-eval/langchain-dbx-eval"


def blocks(page: Path, language: str) -> list[str]:
    text = page.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def is_for_notebooks(block: str) -> bool:
    """Whether it awaits outside of a function, which only a notebook accepts."""
    code = compile(block, "block", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    return bool(code.co_flags & inspect.CO_COROUTINE)


def blocks_of_script(page: Path) -> list[str]:
    """Return the Python blocks for scripts and the Python prompt."""
    return [block for block in blocks(page, "python") if not is_for_notebooks(block)]


def blocks_of_notebook(page: Path) -> list[str]:
    """Return the Python blocks for notebooks, whose event loop is running."""
    return [block for block in blocks(page, "python") if not _runs_a_loop(block)]


PAGES_WITH_CODE = [page for page in PAGES if page not in KOREAN and blocks(page, "python")]
COMMANDS = [
    line
    for page in PAGES
    for block in blocks(page, "sh")
    for line in block.splitlines()
    if line and not line.startswith("#")
] + [
    line.removeprefix("$ ").split(" && ")[0]
    for page in PAGES
    for block in blocks(page, "console")
    for line in block.splitlines()
    if line.startswith("$ langchain-dbx-eval")
]


@pytest.mark.timeout(600)  # includes the wait for port 7777
@pytest.mark.xdist_group("port 7777")
@pytest.mark.usefixtures("mlflow_store", "documented_port", "_restored_log_levels")
@pytest.mark.filterwarnings("ignore:Without an API key")
@pytest.mark.parametrize("page", PAGES_WITH_CODE, ids=lambda page: page.name)
def test_the_code_of_a_page_runs_from_top_to_bottom_twice(page: Path) -> None:
    for _ in range(2):  # with the same files, as for a user who reads the page again
        namespace: dict[str, object] = {"__name__": "__main__"}
        for number, block in enumerate(blocks_of_script(page), start=1):
            exec(compile(block, f"{page.name}, block {number}", "exec"), namespace)


@pytest.mark.parametrize("page", PAGES_WITH_CODE, ids=lambda page: page.name)
def test_the_code_of_a_page_can_be_pasted_into_the_python_prompt(page: Path) -> None:
    """The prompt ends a function at its first blank line, and needs one after it."""
    for number, block in enumerate(blocks_of_script(page), start=1):
        statement: list[str] = []
        for line in [*block.splitlines(), ""]:
            statement.append(line)
            try:
                is_complete = codeop.compile_command("\n".join(statement)) is not None
            except SyntaxError as error:
                text = "\n".join(statement)
                pytest.fail(f"{page.name}, block {number}: {error.msg}\n{text}")
            if is_complete:
                statement = []
        assert "\n".join(statement).strip() == "", f"{page.name}, block {number} is not complete"


@pytest.mark.parametrize("page", PAGES_WITH_CODE, ids=lambda page: page.name)
def test_a_page_that_uses_asyncio_run_has_the_same_for_notebooks(page: Path) -> None:
    code = blocks(page, "python")
    followed = [after for block, after in itertools.pairwise(code) if _runs_a_loop(block)]
    assert len(followed) == sum(map(_runs_a_loop, code)), "the last block has none after it"
    assert all(map(is_for_notebooks, followed))


def _runs_a_loop(block: str) -> bool:
    return "asyncio.run(" in block


REQUIRES = {
    **dict.fromkeys(
        ("evaluate", "EvaluationCallbackHandler", "compare", "mlflow", "pandas"), "eval"
    ),
    **dict.fromkeys(("langchain_dbx_eval.evaluation", "langchain_dbx_eval.reporting"), "eval"),
    **dict.fromkeys(("langchain_dbx_eval.driver", "flask"), "driver"),
    "langchain_dbx_eval.testing": "testing",
    "EvalDataset": "delta",
}
CONTAINED = {
    "all": {"driver", "delta", "eval", "testing"},
    "eval": {"delta"},
    "sail": {"eval", "delta"},
    "testing": {"driver", "delta"},
}


@pytest.mark.parametrize("page", PAGES_WITH_CODE, ids=lambda page: page.name)
def test_a_page_names_the_extras_of_what_it_imports(page: Path) -> None:
    imported: set[str] = set()
    for block in blocks(page, "python"):
        flags = ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        for node in ast.walk(compile(block, "block", "exec", flags)):
            if isinstance(node, ast.Import):
                imported |= {name.name.split(".")[0] for name in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported |= {str(node.module), *(name.name for name in node.names)}
    named = set(re.findall(r"`([a-z]+)`|[\[,]([a-z]+)(?=[\],])", page.read_text(encoding="utf-8")))
    extras = {name for pair in named for name in pair}
    extras |= {part for name in extras for part in CONTAINED.get(name, ())}
    required = {REQUIRES[name] for name in imported & REQUIRES.keys()}
    assert required - extras == set()


def test_each_korean_page_has_the_code_of_its_english_page() -> None:
    """`make korean` copies it."""
    for korean, english in korean_pages():
        korean_blocks = BLOCK.findall(korean.read_text(encoding="utf-8"))
        assert korean_blocks == BLOCK.findall(english.read_text(encoding="utf-8")), korean


def test_tutorials_and_how_to_pages_have_a_korean_page_and_a_switch() -> None:
    translated = [page for _, page in korean_pages()]
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    guides = navigation.partition("- Tutorials:")[2].partition("- On a real workspace:")[0]
    pages = [ROOT / "docs" / name for name in re.findall(r"[\w/-]+\.md", guides)]
    assert len(pages) > 15
    assert [page.name for page in pages if page not in translated] == []
    for korean, english in korean_pages():
        for page, other, language in ((korean, english, "English"), (english, korean, "한국어")):
            head = page.read_text(encoding="utf-8").splitlines()[2]
            target = re.search(rf"\[{language}\]\(([^)]+)\)", head)
            assert target is not None, f"{page}: {head}"
            link = target[1].removeprefix(f"{REPOSITORY}/blob/main/")
            base = page.parent if link == target[1] else ROOT
            assert (base / link).resolve() == other, page


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_a_page_exists(command: str) -> None:
    program, *words = shlex.split(command)
    if program == "make":
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        targets = [word for word in words if "=" not in word]
        assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)
    elif program == "langchain-dbx-eval":
        commands = get_command(app)
        while words and words[0] in getattr(commands, "commands", {}):
            commands = commands.commands[words.pop(0)]
        with contextlib.suppress(typer.Exit):  # --help
            commands.make_context(program, words)  # raises if the arguments are not valid
    elif program == "python":
        script = words[0] if words[0] != "-m" else words[1].replace(".", "/")
        assert any((ROOT / f"{script}{suffix}").exists() for suffix in ("", ".py"))
    else:
        assert program in {
            "pip",
            "pre-commit",
            "mlflow",
            "curl",
            "databricks",
            "export",
            "vllm",
        }  # programs of others


def test_every_link_between_pages_is_valid() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("name", ["README.md", "README.ko.md"])
def test_every_link_of_the_readme_is_absolute_and_valid(name: str) -> None:
    assert f'Repository = "{REPOSITORY}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)#]+)", (ROOT / name).read_text(encoding="utf-8"))
    assert [target for target in targets if not target.startswith("https://")] == []
    raw = REPOSITORY.replace("//github.com", "//raw.githubusercontent.com")
    for start in (f"{REPOSITORY}/blob/main/", f"{raw}/main/"):
        files = [target.removeprefix(start) for target in targets if target.startswith(start)]
        assert [file for file in files if not (ROOT / file).exists()] == []
        assert files


def test_every_error_class_is_on_the_page_of_errors() -> None:
    text = (ROOT / "docs/reference/errors.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `(\w+)` \| .+ \| .+ \|$", text, re.MULTILINE)
    assert sorted(listed) == sorted(errors.__all__)


def string_literals() -> set[str]:
    """Return the strings in the code of the package; of an f-string, its constant parts."""
    return {
        node.value
        for file in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


# Names in the form of environment variables that the package does not read, but sets, unsets or
# passes on: those of the emulator's logins, and options of deltalake.
NOT_READ = {"DATABRICKS_PASSWORD", "DATABRICKS_USERNAME", "DATABRICKS_CLIENT_SECRET"}
NOT_READ |= {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"}
NOT_READ |= {"MLFLOW_EXPERIMENT"}  # a type of trace locations


def test_every_environment_variable_is_on_its_page() -> None:
    text = (ROOT / "docs/reference/environment.md").read_text(encoding="utf-8")
    name = re.compile(
        r"(?:DATABRICKS|DBX_EVAL|MLFLOW|AWS|GITHUB|REQUESTS|CURL|WAYLAND)_[A-Z_]+|DISPLAY|BROWSER"
    )
    used = {literal for literal in string_literals() if name.fullmatch(literal)} - NOT_READ
    assert len(used) > 15
    assert [variable for variable in sorted(used) if f"`{variable}`" not in text] == []


def test_the_messages_on_the_page_of_troubleshooting_are_those_of_the_package() -> None:
    text = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")
    section = text.split("## Messages of this package")[1].split("\n## ")[0]
    messages = re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE)
    assert len(messages) > 15
    literals = string_literals()
    missing = [one for one in messages if not any(one in literal for literal in literals)]
    assert missing == []


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


def test_each_folder_of_the_package_lists_its_modules_of_which_there_are_few() -> None:
    for init in PACKAGE.glob("**/__init__.py"):
        listed = ast.get_docstring(ast.parse(init.read_text(encoding="utf-8"))) or ""
        modules = {path.stem for path in init.parent.glob("*.py")}
        modules -= {"__init__", "__main__", "_version"}
        assert len(modules) <= 12, init.parent
        unlisted = [name for name in modules if not re.search(rf"\b{name}\b", listed)]
        assert unlisted == [], init.parent


def test_contributing_and_the_help_name_every_target_of_make() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE))
    contributing = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert targets - set(re.findall(r"`?make ([a-z-]+)", contributing)) == {"help"}
    assert targets - set(re.findall(r"@echo \"make ([a-z-]+)", makefile)) == {"help"}
    phony = makefile.replace("\\\n", " ").split(".PHONY:")[1].splitlines()[0].split()
    assert set(phony) == targets


def test_the_commands_of_the_workflows_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    files = [*(ROOT / ".github/workflows").glob("*.yml"), *(ROOT / "examples/workflows").glob("*")]
    assert len(files) == 4
    for file in files:
        workflow = yaml.safe_load(file.read_text(encoding="utf-8"))
        assert workflow["permissions"] == {"contents": "read"}, file
        for name, job in workflow["jobs"].items():
            assert job["timeout-minutes"] if name != "publish" else True
            for python in job.get("strategy", {}).get("matrix", {}).get("python", []):
                assert f'"Programming Language :: Python :: {python}"' in project
            text = "\n".join(step.get("run", "") for step in job["steps"])
            for target in re.findall(r"make ([a-z-]+)", text):
                assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
            for path in re.findall(r"(?:scripts|examples)/[\w./]+", text):
                assert (ROOT / path).is_file(), path
            for extras in re.findall(r"\.\[([\w,]+)\]", text):
                assert all(f"\n{extra} = [" in project for extra in extras.split(",")), extras


def test_make_package_uses_every_extra() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    section = project.split("[project.optional-dependencies]")[1].split("\n[")[0]
    extras = set(re.findall(r"^(\w+) = \[", section, re.MULTILINE))
    for_developers = {"dev", "test", "fuzz"}
    assert set(EXTRAS) == extras - for_developers | {"core"}
    script = (ROOT / "scripts/try_package").read_text(encoding="utf-8")
    [listed] = re.findall(r"\|\| set -- ([a-z \n\\]+?)\nfor ", script)
    assert set(listed.replace("\\", " ").split()) == set(EXTRAS)
