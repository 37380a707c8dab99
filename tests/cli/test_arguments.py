"""Arguments, help and errors of all commands, without an evaluation."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from langchain_dbx_eval.cli import main
from langchain_dbx_eval.cli.app import app
from langchain_dbx_eval.cli.arguments import complete_runs, load_result
from langchain_dbx_eval.cli.runs.config import RunConfig, RunSettings, load_scorer
from langchain_dbx_eval.errors import ConfigurationError, NotFoundError
from langchain_dbx_eval.evaluation import EvaluationOptions, evaluate
from langchain_dbx_eval.evaluation.journal.manifest import EvaluationManifest
from langchain_dbx_eval.evaluation.journal.store import Journal
from langchain_dbx_eval.scoring import ExactMatch
from tests.cli.commands import command_names

GROUPS = (["datasets"], ["judges"])
HEAVY = {"mlflow", "pandas", "numpy", "scipy", "pyarrow", "langchain_core", "databricks", "rich"}


@pytest.mark.parametrize("words", [[], *command_names()], ids=" ".join)
def test_the_help_of_each_command_fits_80_columns_and_has_an_example(words: list[str]) -> None:
    done = CliRunner().invoke(app, [*words, "--help"])
    assert done.exit_code == 0
    if words not in GROUPS:
        assert f"langchain-dbx-eval {' '.join(words)}".strip() in done.stdout
    # Examples are not wrapped, so that they can be copied.
    lines = [line for line in done.stdout.splitlines() if "langchain-dbx-eval" not in line]
    assert [line for line in lines if len(line) > 80] == []


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"], ["datasets", "--help"]])
def test_the_help_imports_no_heavy_library(words: list[str]) -> None:
    program = (
        "import sys; from langchain_dbx_eval.cli import main; status = main(sys.argv[1:]); "
        f"print('IMPORTED', sorted({HEAVY!r} & set(sys.modules))); sys.exit(status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *words], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "IMPORTED []"


def test_without_typer_the_message_names_the_extra() -> None:
    program = (
        "import sys; sys.modules['typer'] = None; "
        "from langchain_dbx_eval.cli import main; sys.exit(main(['list']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "pip install 'langchain-dbx-eval[cli]'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["chek", "last", "a >= 1"], "chek"),
        (["run"], "give CONFIG, or --data"),
        (["list", "--limit", "0"], "--limit"),
        (["show"], "RUN"),
        (["demo", "--variant", "other"], "baseline"),
        (["serve", "m:f", "--no-such-option"], "--no-such-option"),
    ],
)
def test_wrong_arguments_exit_with_2(
    words: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["show", "last"], "There is no evaluation in"),
        (["show", "no-such-run"], "There is no evaluation 'no-such-run'"),
        (["resume", "last"], "There is no evaluation in"),
        (["run", "missing.yaml"], "There is no file missing.yaml"),
        (["run", "config.ini"], "expected a file with the suffix"),
        (["run", "-d", "missing.jsonl"], "There is no file"),
        (["run", "-d", "q.jsonl", "-m", "no_such_module:f"], "no module 'no_such_module'"),
        (["run", "-d", "q.jsonl", "--check", "exact_match => 1"], "exactly one of the operators"),
        (["run", "-d", "q.jsonl", "--baseline", "last"], "'baseline' needs conditions"),
        (["run", "-d", "q.jsonl", "--scorer", "TokenF2"], "There is no scorer 'TokenF2'"),
        (["--env-file", "missing.env", "list"], "there is no file missing.env"),
        (["judges", "agreement", "correctness"], "Give LABELED"),
        (["report", "last", "--redact", "("], "is not a regular expression"),
        (["export", "last", "--format", "xls"], "The format 'xls' is not supported"),
        (["export", "last", "--condition", "a >= 1"], "--condition applies to --format junit only"),
    ],
)
def test_an_error_is_one_message_and_exits_with_1(
    words: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("q.jsonl").write_text('{"request": "a"}\n')
    Path("config.ini").write_text("")
    assert main(words) == 1
    printed = capsys.readouterr().err
    assert printed.startswith("langchain-dbx-eval: ")
    assert expected in printed
    assert "Traceback" not in printed


def test_debug_shows_the_traceback_after_a_command_too() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "langchain_dbx_eval.cli", "run", "missing.yaml", "--debug"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "NotFoundError" in done.stderr


class TestConfig:
    @pytest.fixture(autouse=True)
    def _file(self, tmp_path: Path) -> None:
        self.folder = tmp_path / "project"
        self.folder.mkdir()
        (self.folder / "questions.jsonl").touch()

    def settings(self, text: str, name: str = "eval.yaml", **arguments: object) -> RunSettings:
        file = self.folder / name
        file.write_text(text)
        return RunSettings.collect(file, arguments)

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("eval.yaml", "data: questions.jsonl\nrepeat: 3\ncheck: ['a >= 1']\n"),
            ("eval.toml", 'data = "questions.jsonl"\nrepeat = 3\ncheck = ["a >= 1"]\n'),
            ("eval.json", '{"data": "questions.jsonl", "repeat": 3, "check": "a >= 1"}'),
        ],
    )
    def test_yaml_toml_and_json_are_equal(self, name: str, text: str) -> None:
        config = self.settings(text, name).parse()
        assert (config.data, config.repeat, config.check) == ("questions.jsonl", 3, ["a >= 1"])

    def test_options_win_and_paths_of_the_file_are_relative_to_it(self) -> None:
        settings = self.settings("data: questions.jsonl\nrepeat: 3\n", repeat=5, timeout=None)
        config = settings.parse()
        assert (config.repeat, config.timeout) == (5, None)
        assert settings.path("questions.jsonl") == self.folder / "questions.jsonl"
        assert settings.path("main.default.questions") == "main.default.questions"

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("dataset: a", "unknown key 'dataset'. Did you mean 'data'?"),
            ("data: a\nconcurrency: 2", "Did you mean 'max_concurrency'?"),
            ("data: a\nscorer: [ExactMatch]", "Did you mean 'scorers'"),
            ("data: a\nxyzzy: 1", "unknown key 'xyzzy'. Keys: model, data"),
            ("model: m:f", "'data' is missing"),
            ("data: a\nrepeat: often", "repeat: Input should be a valid integer"),
            ("data: a\nscorers: ExactMatch", "scorers: Input should be a valid list"),
            ("- data", "expected keys with values"),
            ("data: [", "cannot be read"),
            ("data: ${NO_SUCH_VARIABLE}", "data: the environment variable NO_SUCH_VARIABLE"),
        ],
    )
    def test_a_wrong_file_is_one_clear_error(self, text: str, expected: str) -> None:
        with pytest.raises(ConfigurationError) as caught:
            self.settings(text).parse()
        assert expected in str(caught.value)

    def test_variables_are_replaced_and_not_stored(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ROWS_AT_ONCE", "8")
        monkeypatch.setenv("SECRET", "hunter2")
        settings = self.settings(
            "data: questions.jsonl\nmax_concurrency: ${ROWS_AT_ONCE}\n"
            "tracking_uri: 'https://u:${SECRET}@host'\nrun_name: $${SECRET}\n"
        )
        config = settings.parse()
        assert config.max_concurrency == 8
        assert config.tracking_uri == "https://u:hunter2@host"
        assert config.run_name == "${SECRET}"
        assert "hunter2" not in settings.model_dump_json()

    def test_records_in_the_file_are_texts_of_the_user(self) -> None:
        config = self.settings("data: [{request: 'What is ${HOME}?'}]\n").parse()
        assert config.data == [{"request": "What is ${HOME}?"}]

    def test_a_missing_file_is_not_found(self) -> None:
        with pytest.raises(NotFoundError, match="init"):
            RunSettings.collect(self.folder / "other.yaml", {})

    def test_a_shipped_scorer_has_a_short_name(self) -> None:
        assert isinstance(load_scorer("ExactMatch"), ExactMatch)


def test_the_documented_file_and_its_table_of_keys_are_those_of_the_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    page = (Path(__file__).parents[2] / "docs/cli.md").read_text("utf-8")
    [example] = re.findall("^```yaml\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    Path("documented.yaml").write_text(example)
    monkeypatch.setenv("JUDGE", "my-judge")
    assert RunSettings.collect(Path("documented.yaml"), {}).parse().judge == "endpoints:/my-judge"
    table = page.split("| key | default | |")[1].split("\n\n")[0]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    assert re.findall(r"`(\w+)`", " ".join(cells)) == list(RunConfig.model_fields)


def test_the_beginning_of_an_id_is_enough_if_it_is_unique(tmp_path: Path) -> None:
    for name in ("20261122-101500-aaaa", "20261122-101500-aabb"):
        Journal.create(EvaluationManifest.describe(None, (), from_callback=True)).path.rename(
            tmp_path / "dbx-eval" / "journals" / f"{name}.sqlite"
        )
    assert load_result("20261122-101500-aaa").evaluation_id == "20261122-101500-aaaa"
    with pytest.raises(ConfigurationError, match="2 evaluations begin with"):
        load_result("20261122")


def test_settings_that_are_not_json_are_rejected() -> None:
    with pytest.raises(ConfigurationError, match="must be plain JSON"):
        evaluate(data=[{"request": "a"}], options=EvaluationOptions(settings={"a": object()}))


def test_the_env_file_sets_what_the_environment_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBX_EVAL_TEST_A", "environment")
    monkeypatch.delenv("DBX_EVAL_TEST_B", raising=False)
    Path(".env").write_text("DBX_EVAL_TEST_A=file\nexport DBX_EVAL_TEST_B='of file'\n")
    assert main(["judges", "list"]) == 0
    assert os.environ["DBX_EVAL_TEST_A"] == "environment"
    assert os.environ["DBX_EVAL_TEST_B"] == "of file"


def test_the_shell_completes_run(tmp_path: Path) -> None:
    folder = tmp_path / "dbx-eval" / "journals"
    folder.mkdir(parents=True)
    for name in ("20261122-1", "20261123-1"):
        (folder / f"{name}.sqlite").touch()
    assert complete_runs("") == ["last", "20261123-1", "20261122-1"]
    assert complete_runs("20261122") == ["20261122-1"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_available_for_each_shell(shell: str) -> None:
    """The script of the shell asks the program, which answers with the names of the commands."""
    variables = {
        "_LANGCHAIN_DBX_EVAL_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": "langchain-dbx-eval re",
        "COMP_CWORD": "1",
        "_TYPER_COMPLETE_ARGS": "langchain-dbx-eval re",
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }
    done = subprocess.run(
        [sys.executable, "-m", "langchain_dbx_eval.cli"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **variables},
    )
    assert "resume" in done.stdout
    assert "report" in done.stdout
    assert "compare" not in done.stdout


def test_the_built_in_judges_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["judges", "list"]) == 0
    assert "correctness" in capsys.readouterr().out
    assert main(["judges", "list", "--json"]) == 0
    judges = json.loads(capsys.readouterr().out)
    [safety] = [judge for judge in judges if judge["name"] == "safety"]
    assert safety["inputs"] == ["response"]


def test_init_writes_all_files_or_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "first"]) == 0
    assert sorted(path.name for path in Path("first").iterdir()) == [
        "eval.yaml",
        "my_model.py",
        "questions.jsonl",
    ]
    Path("second").mkdir()
    Path("second/questions.jsonl").write_text("mine")
    assert main(["init", "second"]) == 1
    assert "already exists" in capsys.readouterr().err
    assert [path.name for path in Path("second").iterdir()] == ["questions.jsonl"]
