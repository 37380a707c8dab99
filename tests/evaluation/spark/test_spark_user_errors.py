"""What users of ``engine="spark"`` get wrong, and an evaluation that is interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from langchain_dbx_eval import errors, evaluate
from langchain_dbx_eval.evaluation import SparkOptions
from tests.polling import wait_until

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.xdist_group("spark-engine"),
    pytest.mark.usefixtures("sail", "mlflow_store"),
]

_MODULE = "tests.evaluation.spark.models"
_NO_JUDGES: dict[str, Any] = {"databricks-agent": {"metrics": []}}


def _evaluate(data: Any = None, **options: Any) -> Any:
    engine = SparkOptions(**options)
    data = [{"request": "question 1"}] if data is None else data
    return evaluate(f"{_MODULE}:chain", data, evaluator_config=_NO_JUDGES, engine=engine)


@pytest.mark.parametrize("as_frame", [False, True])
def test_an_empty_dataset_has_an_empty_result(sail, as_frame) -> None:
    data = sail.createDataFrame([], "request string") if as_frame else []
    result = _evaluate(data)
    assert result.metrics["rows/total"] == len(result.rows) == 0


def test_rows_without_a_request_fail_and_duplicates_are_rows(sail) -> None:
    frame = sail.createDataFrame([("question 1",), ("question 1",)], "question string")
    result = _evaluate(frame)
    assert [row.outcome.error for row in result.failures] == [
        "SchemaError: column 'request': expected a value in 'request' or 'inputs', got none. The "
        "row has the column 'question'. Rename 'question' to 'request'."
    ] * 2
    assert _evaluate([{"request": "question 1"}] * 3).metrics["rows/answered"] == 3


@pytest.mark.parametrize(
    ("results", "message"),
    [
        ("default.other", "default.other.* is a table with other columns: it lacks record_key"),
        ("{folder}/other", "other.* is a table with other columns: it lacks record_key"),
        ("{folder}/file", "cannot be used: Not a directory"),
        ("/proc/none/results", "cannot be used: .*folder that all machines"),
        ("no_schema.results", "cannot be used: .*Pass the name of a table"),
        ("not a name", "'not a name'.* cannot be used"),
    ],
)
def test_a_results_table_that_cannot_be_used_is_refused_before_a_model_is_invoked(
    sail, tmp_path: Path, results, message
) -> None:
    other = sail.createDataFrame([(1,)], "a int")
    other.write.mode("overwrite").saveAsTable("default.other")
    other.write.format("delta").save(str(tmp_path / "other"))
    (tmp_path / "file").write_text("text")
    with pytest.raises(errors.ConfigurationError, match=message):
        _evaluate(results=results.format(folder=tmp_path))
    assert sail.table("default.other").columns == ["a"]


def test_a_format_that_the_session_lacks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(errors.ConfigurationError, match=r"format='exotic'\) cannot be used"):
        _evaluate(format="exotic")


def test_a_frame_that_cannot_be_computed_is_refused(sail) -> None:
    frame = sail.sql("SELECT raise_error('no such day') AS request")
    with pytest.raises(errors.ConfigurationError, match=r"by the tasks.*no such day"):
        _evaluate(frame)


def test_a_relative_path_is_that_of_the_driver(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert _evaluate(results="./results").results_table == str(tmp_path / "results")
    assert (tmp_path / "results").is_dir()


_INTERRUPTED = """
import sys
from langchain_dbx_eval import evaluate
from langchain_dbx_eval.evaluation import SparkOptions

url, folder = sys.argv[1:]

def run():
    data = [{"request": f"{url} {folder} {n}"} for n in range(120)]
    engine = SparkOptions(results=f"{folder}/results", tasks=2, step_rows=60)
    return evaluate(
        "tests.evaluation.spark.models:remote", data, max_concurrency=4, engine=engine,
        evaluator_config={"databricks-agent": {"metrics": []}},
    )

try:
    run()
except KeyboardInterrupt as interrupt:
    print(interrupt, flush=True)
    print(int(run().metrics["rows/answered"]))
"""


def test_after_ctrl_c_the_same_call_runs_only_what_is_missing(
    endpoint, mlflow_store: str, tmp_path: Path
) -> None:
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parents[3]),
        "TMPDIR": str(tmp_path),
        "DBX_EVAL_HOME": str(tmp_path / "home"),
        "MLFLOW_TRACKING_URI": mlflow_store,
    }
    process = subprocess.Popen(
        [sys.executable, "-c", _INTERRUPTED, endpoint.url, str(tmp_path)],
        env=environment,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # As in a terminal: a job in the background ignores it, and so do its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    wait_until(lambda: len(endpoint.counts) >= 80, timeout=250)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=250)
    advice, answered = output.splitlines()
    assert advice.startswith("Finished steps are saved. Continue with the same call and SparkOpt")
    assert answered == "120"
    assert len(endpoint.counts) == 120
    assert sum(endpoint.counts.values()) <= 120 + 2 * 4
