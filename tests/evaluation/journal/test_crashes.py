"""Evaluations that are killed at random moments, and gone on with: nothing is lost, or paid twice.

``DBX_EVAL_ALL_CRASHES=1`` runs all rounds; otherwise a few of them run.
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

ALL = bool(os.environ.get("DBX_EVAL_ALL_CRASHES"))
ROUNDS = 20 if ALL else 2
ROWS = 500 if ALL else 120
CONCURRENCY = 16


class Endpoint:
    """What the workspace's endpoints were asked, by question."""

    def __init__(self, workspace, seconds=0.004):
        self.seconds = seconds
        self.asked = Counter()
        self.judged = Counter()
        workspace.add_endpoint("chat", self.chat, kind="chat")
        workspace.add_endpoint("judge", self.judge, kind="chat")

    def chat(self, messages, temperature):
        question = messages[-1]["content"]
        self.asked[question] += 1
        time.sleep(self.seconds)
        return question.replace("question", "answer")

    def judge(self, messages, **params):
        text = json.dumps(messages)
        self.judged[re.search(r"question \d+", text)[0]] += 1
        return '{"rationale": "as asked", "rating": "yes"}'


class Nursery:
    """A process that forks a child for each evaluation."""

    def __init__(self, log: Path):
        self.log = log
        with log.open("wb") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, Path(__file__).with_name("nursery.py")],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        assert self.process.stdout.readline() == "ready\n", log.read_text()
        self.running = False

    def begin(self, **order) -> int:
        ours = ("DATABRICKS_", "DBX_EVAL_", "MLFLOW_", "HOME")
        environment = {k: v for k, v in os.environ.items() if k.startswith(ours)}
        defaults = {"rows": ROWS, "concurrency": CONCURRENCY, "environment": environment}
        order = {**defaults, **order}
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        self.running = True
        return self._told("pid")["pid"]

    def end(self) -> tuple[int, dict | None]:
        """How the child ended, and what it said."""
        said = None
        while "ended" not in (told := json.loads(self.process.stdout.readline())):
            said = told
        self.running = False
        return told["ended"], said

    def _told(self, key: str) -> dict:
        told = json.loads(self.process.stdout.readline())
        assert key in told, f"not from this child: {told}"
        return told


@pytest.fixture
def endpoint(workspace):
    return Endpoint(workspace)


@pytest.fixture(scope="module")
def running_nursery(tmp_path_factory):
    running = Nursery(tmp_path_factory.mktemp("nursery") / "stderr.log")
    yield running
    running.process.kill()
    running.process.communicate()


@pytest.fixture
def nursery(running_nursery, mlflow_store, workspace, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_store)
    yield running_nursery
    if running_nursery.running:
        running_nursery.end()


def the_journal() -> Journal:
    [path] = journals_root().glob("*.sqlite")
    return Journal.find(path)


def wait_for_rows(count: int) -> None:
    """Wait until so many rows are scored."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if list(journals_root().glob("*.sqlite")) and the_journal().count(SCORED) >= count:
            return
        time.sleep(0.01)
    raise AssertionError(f"{count} rows were never reached")


def wait_for_a_moment_of(seed: int) -> None:
    """Somewhere between the first row and, in one round of three, the last write to MLflow."""
    chance = random.Random(seed)
    wait_for_rows(ROWS if seed % 3 == 1 else chance.randrange(1, ROWS - 3 * CONCURRENCY))
    time.sleep(chance.uniform(0, 1.5) if seed % 3 == 1 else chance.uniform(0, 0.01))


def assert_complete_and_single(result: EvaluationResult, rows: int = ROWS) -> None:
    assert [row.number for row in result.rows] == list(range(rows))
    assert all(row.outcome.response == f"answer {row.number}" for row in result.rows)
    assert all([a.name for a in row.assessments if a.name == "good"] for row in result.rows)
    assert result.pending_rows == 0
    traces = mlflow.search_traces(run_id=result.run_id, return_type="list", max_results=5 * rows)
    said = [
        (t.info.tags["mlflow.eval.requestId"], sorted(a.name for a in t.info.assessments))
        for t in traces
    ]
    expected = ["document_recall", "expected_response", "good", "overall_assessment"]
    named = [name for _, names in said for name in names]
    assert sorted(request_id for request_id, _ in said) == sorted(f"r{n}" for n in range(rows))
    assert {name: named.count(name) for name in set(named)} == dict.fromkeys(
        [name for name in expected if name in named], rows
    )
    run = mlflow.get_run(result.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.metrics["response/llm_judged/good/rating/percentage"] == 1.0


@pytest.mark.timeout(600)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="children are forked")
@pytest.mark.parametrize("seed", range(ROUNDS))
@pytest.mark.parametrize("how", ["SIGKILL", "SIGTERM"])
def test_a_killed_run_goes_on_where_it_was(how, seed, nursery, endpoint):
    if how == "SIGTERM" and seed % 3:
        pytest.skip("every third round ends by SIGTERM too")
    child = nursery.begin()
    wait_for_a_moment_of(seed)
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, getattr(signal, how))
    status, _ = nursery.end()
    # It may have come to its end while it was waited for the last moment.
    ends = {"SIGKILL": -signal.SIGKILL, "SIGTERM": 128 + signal.SIGTERM}
    assert status == ends[how] or (status == 0 and seed % 3 == 1)
    killed = the_journal()
    answered = {f"question {place.number}" for place in killed.places()}
    scored = {f"question {place.number}" for place in killed.places(SCORED)}
    before = Counter(endpoint.asked)
    judged_before = Counter(endpoint.judged)

    nursery.begin(resume=str(killed.path))
    status, told = nursery.end()

    assert status == 0, nursery.log.read_text()
    again = endpoint.asked - before
    assert not again.keys() & answered
    assert not (endpoint.judged - judged_before).keys() & scored
    repeated = [question for question, times in endpoint.asked.items() if times > 1]
    assert len(repeated) <= CONCURRENCY
    assert max(endpoint.asked.values()) <= 2
    if how == "SIGTERM":
        assert not repeated
    assert_complete_and_single(EvaluationResult.load(told["run_id"]))
