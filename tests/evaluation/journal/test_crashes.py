"""Evaluations that are killed at random moments and resumed: no row is lost or invoked twice.

``DBX_EVAL_ALL_CRASHES=1`` runs all rounds, otherwise a few of them run.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import mlflow
import pytest

from langchain_dbx_eval import EvaluationResult
from langchain_dbx_eval._internal.paths import journals_root
from langchain_dbx_eval.evaluation.journal.store import SCORED, Journal
from tests.polling import wait_until

ALL = bool(os.environ.get("DBX_EVAL_ALL_CRASHES"))
ROUNDS = 20 if ALL else 2
ROWS = 500 if ALL else 120
CONCURRENCY = 16


class Endpoint:
    """Counts the requests to the endpoints of the workspace, by question."""

    def __init__(self, workspace, seconds=0.004):
        self.seconds = seconds
        self.invoked = Counter()
        self.judged = Counter()
        workspace.add_endpoint("chat", self.chat, kind="chat")
        workspace.add_endpoint("judge", self.judge, kind="chat")

    def chat(self, messages, temperature):
        question = messages[-1]["content"]
        self.invoked[question] += 1
        time.sleep(self.seconds)
        return question.replace("question", "answer")

    def judge(self, messages, **params):
        text = json.dumps(messages)
        self.judged[re.search(r"question \d+", text)[0]] += 1
        return '{"rationale": "matches", "rating": "yes"}'


class ForkServer:
    """A process that forks a child for each evaluation."""

    def __init__(self, log: Path):
        self.log = log
        with log.open("wb") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, Path(__file__).with_name("fork_server.py")],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        assert self.process.stdout.readline() == "ready\n", log.read_text()
        self.running = False

    def start(self, **task) -> int:
        ours = ("DATABRICKS_", "DBX_EVAL_", "MLFLOW_", "HOME")
        environment = {k: v for k, v in os.environ.items() if k.startswith(ours)}
        defaults = {"rows": ROWS, "concurrency": CONCURRENCY, "environment": environment}
        self.process.stdin.write(json.dumps({**defaults, **task}) + "\n")
        self.process.stdin.flush()
        self.running = True
        return self._read()["pid"]

    def wait(self) -> tuple[int, dict | None]:
        """Return the exit code of the child, and the result that it printed."""
        result = None
        while "exit_code" not in (message := self._read()):
            result = message
        self.running = False
        return message["exit_code"], result

    def _read(self) -> dict:
        return json.loads(self.process.stdout.readline())


@pytest.fixture
def endpoint(workspace):
    return Endpoint(workspace)


@pytest.fixture(scope="module")
def running_server(tmp_path_factory):
    running = ForkServer(tmp_path_factory.mktemp("fork-server") / "stderr.log")
    yield running
    running.process.kill()
    running.process.communicate()


@pytest.fixture
def server(running_server, mlflow_store, workspace, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_store)
    yield running_server
    if running_server.running:
        running_server.wait()


def the_journal() -> Journal:
    [path] = journals_root().glob("*.sqlite")
    return Journal.find(path)


def wait_for_rows(count: int) -> None:
    """Wait until so many rows are scored."""
    wait_until(
        lambda: list(journals_root().glob("*.sqlite")) and the_journal().count(SCORED) >= count
    )


def wait_for_random_moment(seed: int) -> None:
    """Wait between the first row and, in one round of three, the last write to MLflow."""
    random_ = random.Random(seed)
    wait_for_rows(ROWS if seed % 3 == 1 else random_.randrange(1, ROWS - 3 * CONCURRENCY))
    time.sleep(random_.uniform(0, 1.5) if seed % 3 == 1 else random_.uniform(0, 0.01))


def assert_complete_and_single(result: EvaluationResult, rows: int = ROWS) -> None:
    assert [row.number for row in result.rows] == list(range(rows))
    assert all(row.outcome.response == f"answer {row.number}" for row in result.rows)
    assert all([a.name for a in row.assessments if a.name == "good"] for row in result.rows)
    assert result.pending_rows == 0
    traces = mlflow.search_traces(run_id=result.run_id, return_type="list", max_results=5 * rows)
    assessed = [
        (t.info.tags["mlflow.eval.requestId"], sorted(a.name for a in t.info.assessments))
        for t in traces
    ]
    expected = ["document_recall", "expected_response", "good", "overall_assessment"]
    named = [name for _, names in assessed for name in names]
    assert sorted(request_id for request_id, _ in assessed) == sorted(f"r{n}" for n in range(rows))
    assert {name: named.count(name) for name in set(named)} == dict.fromkeys(
        [name for name in expected if name in named], rows
    )
    run = mlflow.get_run(result.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.metrics["response/llm_judged/good/rating/percentage"] == 1.0


@pytest.mark.timeout(600)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="children are forked")
@pytest.mark.parametrize("seed", range(ROUNDS))
@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM"])
def test_a_killed_evaluation_is_resumed_where_it_was(name, seed, server, endpoint):
    if name == "SIGTERM" and seed % 3:
        pytest.skip("every third round sends SIGTERM too")
    child = server.start()
    wait_for_random_moment(seed)
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, getattr(signal, name))
    status, _ = server.wait()
    # It may have finished while the test waited for the last moment.
    codes = {"SIGKILL": -signal.SIGKILL, "SIGTERM": 128 + signal.SIGTERM}
    assert status == codes[name] or (status == 0 and seed % 3 == 1)
    killed = the_journal()
    answered = {f"question {key.number}" for key in killed.row_keys()}
    scored = {f"question {key.number}" for key in killed.row_keys(SCORED)}
    before = Counter(endpoint.invoked)
    judged_before = Counter(endpoint.judged)

    server.start(resume=str(killed.path))
    status, printed = server.wait()

    assert status == 0, server.log.read_text()
    again = endpoint.invoked - before
    assert not again.keys() & answered
    assert not (endpoint.judged - judged_before).keys() & scored
    repeated = [question for question, times in endpoint.invoked.items() if times > 1]
    assert len(repeated) <= CONCURRENCY
    assert max(endpoint.invoked.values()) <= 2
    if name == "SIGTERM":
        assert not repeated
    assert_complete_and_single(EvaluationResult.load(printed["run_id"]))
