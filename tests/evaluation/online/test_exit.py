"""The end of a process with calls that no `result` collected: none is lost, all are reported."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import mlflow
import pytest

from langchain_dbx_eval._internal.paths import journals_root
from langchain_dbx_eval.cli import main
from langchain_dbx_eval.evaluation import EvaluationResult, list_evaluations
from langchain_dbx_eval.evaluation.journal.store import UNSCORED, Journal
from tests.polling import wait_until

pytestmark = [pytest.mark.timeout(300), pytest.mark.usefixtures("mlflow_store")]

CALLS = 300
# The process must not wait for MLflow's import: it ends within a moment of its last call.
PROGRAM = f"""
import asyncio, sys, time
from langchain_core.runnables import RunnableLambda
from langchain_dbx_eval import EvaluationCallbackHandler
from langchain_dbx_eval.evaluation import CallbackOptions
from langchain_dbx_eval.scoring import scorer

hangs, exit_timeout, end = sys.argv[1] == "hangs", float(sys.argv[2]), sys.argv[3]

@scorer(affects_verdict=True)
async def is_even(request):
    number = int(request.split()[-1])
    while hangs and number % 2:
        await asyncio.sleep(0.01)
    return number % 2 == 0

@scorer
def length(response):
    return len(response)

def run():
    options = CallbackOptions(exit_timeout=exit_timeout)
    handler = EvaluationCallbackHandler(scorers=[is_even, length], options=options)
    chain = RunnableLambda(str.upper)
    for n in range({CALLS}):
        chain.invoke(f"question {{n}}", {{"callbacks": [handler]}})

run()
if end == "wait":
    print("done", flush=True)
    time.sleep(600)
sys.exit(3)
"""


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments],
        env={**os.environ, "MLFLOW_TRACKING_URI": mlflow.get_tracking_uri()},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def the_path() -> Path:
    [path] = journals_root().glob("*.sqlite")
    return path


def the_journal() -> Journal:
    return Journal.find(the_path())


def traces_by_request(result: EvaluationResult) -> dict[str, set[str]]:
    """Return the names of the assessments in MLflow by request."""
    traces = mlflow.search_traces(run_id=result.run_id, return_type="list", max_results=1000)
    assert len(traces) == CALLS
    return {
        str(trace.data.spans[0].inputs): {a.name for a in trace.info.assessments}
        for trace in traces
    }


def test_a_script_that_ends_after_its_last_call_loses_nothing() -> None:
    process = start("returns", "60", "exit")
    _, errors = process.communicate()
    assert process.returncode == 3
    journal = the_journal()
    assert (journal.count(), journal.count(UNSCORED)) == (CALLS, 0)
    assert f"of {CALLS} calls that a callback saved" in errors
    assert f"{CALLS} are scored, 0 are not" in errors
    assert f"langchain-dbx-eval sync {journal.evaluation_id}" in errors


def test_scorers_that_do_not_end_do_not_hold_the_exit_and_their_rows_are_synced(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    process = start("hangs", "0.5", "exit")
    _, errors = process.communicate()
    assert process.returncode == 3
    journal = the_journal()
    assert journal.count() == CALLS
    assert f"{CALLS} calls that a callback saved" in errors
    unscored = {row.record.request for row in journal.rows(UNSCORED)}
    assert {f"question {n}" for n in range(1, CALLS, 2)} <= unscored
    assert EvaluationResult.load(journal.path).pending_rows == CALLS

    assert main(["sync", journal.evaluation_id]) == 0
    assert f"{len(unscored)} of {CALLS} rows are in MLflow without the scores" in caplog.text
    assert f"{len(unscored)} of {CALLS} rows not scored" in capsys.readouterr().out
    result = EvaluationResult.load(journal.path)
    assert result.pending_rows == 0
    names = traces_by_request(result)
    for request, found in names.items():
        is_odd, is_scored = int(request.split()[-1]) % 2, request not in unscored
        assert ("overall_assessment" in found) == is_scored
        # Of a row that was being scored, some scores are saved.
        assert "is_even" in found or not is_scored
        assert not ("is_even" in found and is_odd)
    run = mlflow.get_run(result.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.metrics["rows/unscored"] == len(unscored)
    assert [info.state for info in list_evaluations()] == ["complete"]


def test_calls_that_were_answered_before_kill_9_are_synced_without_their_scores() -> None:
    process = start("hangs", "60", "wait")
    assert process.stdout is not None
    assert process.stdout.readline() == "done\n"
    # Nothing ends the process in an orderly way: what is saved now is all that is left of it.
    wait_until(lambda: list(journals_root().glob("*.sqlite")) and the_journal().count() == CALLS)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()

    for _ in range(2):
        assert main(["sync", str(the_path())]) == 0
    assert len(traces_by_request(EvaluationResult.load(the_path()))) == CALLS


INTERRUPTED = """
import asyncio, os, signal, sys, threading, time
from langchain_core.runnables import RunnableLambda
from langchain_dbx_eval import EvaluationCallbackHandler
from langchain_dbx_eval.evaluation import CallbackOptions
from langchain_dbx_eval.scoring import scorer

signal.signal(signal.SIGINT, signal.default_int_handler)
main_thread = threading.get_ident()

def send_when_the_result_is_waited_for():
    names = set()
    while "finish" not in names:
        time.sleep(0.05)
        frame, names = sys._current_frames()[main_thread], set()
        while frame:
            names.add(frame.f_code.co_name)
            frame = frame.f_back
    time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGINT)

threading.Thread(target=send_when_the_result_is_waited_for, daemon=True).start()
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])

@scorer
async def hangs(request):
    await asyncio.sleep(600)

options = CallbackOptions(exit_timeout=0.5)
handler = EvaluationCallbackHandler(scorers=[hangs], options=options)
RunnableLambda(str.upper).invoke("question", {"callbacks": [handler]})
try:
    handler.result()
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def test_ctrl_c_that_another_thread_receives_ends_the_wait_for_the_result() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED],
        env={**os.environ, "MLFLOW_TRACKING_URI": mlflow.get_tracking_uri()},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        output, _ = process.communicate(timeout=200)
    finally:
        process.kill()
    assert output == "interrupted\n"
