"""`append_metrics_to_table` and `history`: each run once, in every form and store."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage

from langchain_dbx_eval import (
    EvalDataset,
    EvaluationResult,
    append_metrics_to_table,
    errors,
    evaluate,
)
from langchain_dbx_eval._internal.paths import catalog_root
from langchain_dbx_eval.datasets.base import LoadOptions
from langchain_dbx_eval.datasets.schema.table_name import TableName
from langchain_dbx_eval.reporting import MetricsHistory, history
from langchain_dbx_eval.reporting.dashboard import MetricPoint, RunMetrics
from langchain_dbx_eval.reporting.dashboard.forms import encode_run, key_of
from langchain_dbx_eval.reporting.dashboard.tables import open_table
from langchain_dbx_eval.testing import LocalWorkspace
from langchain_dbx_eval.testing.faults import FailedStatement, LostAnswer

TABLE = "main.metrics.runs"
WORKER = Path(__file__).parent / "appending_worker.py"
METRICS = {
    "response/llm_judged/safety/rating/percentage": 0.75,
    "agent/latency_seconds/average": 1.5,
    "response/llm_judged/safety/error_count": 2,
    "rows/failed": 1,
}


@dataclass
class Store:
    """A store of tables, and the form of the table in it.

    Attributes:
        form: The form.
        options: The arguments that select the store.
    """

    form: str
    options: dict[str, Any] = field(default_factory=dict)

    def append(self, name: str, metrics: Any, **arguments: Any) -> Any:
        """Append metrics to the table."""
        return append_metrics_to_table(
            name, metrics, TABLE, form=self.form, **self.options, **arguments
        )

    def history(self) -> MetricsHistory:
        """Read the table."""
        return history(TABLE, **self.options)


@pytest.fixture(params=["local-long", "local-wide", "warehouse-long", "warehouse-wide"])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    """Return each store with each form."""
    kind, _, form = request.param.partition("-")
    if kind == "local":
        yield Store(form)
        return
    with LocalWorkspace() as workspace:
        workspace.add_warehouse("wh")
        yield Store(form, {"warehouse_id": "wh"})


def names_of(runs: MetricsHistory) -> list[str]:
    return [run.run_name for run in runs]


def test_name_time_and_failures_of_a_run_are_stored(store: Store) -> None:
    before = datetime.now(timezone.utc)
    store.append("nightly", METRICS)
    [run] = store.history()
    assert run.run_name == "nightly"
    assert before <= run.timestamp <= datetime.now(timezone.utc)
    assert run.values == METRICS
    assert {name: point.kind for name, point in run.metrics.items()} == dict(
        zip(METRICS, ("score", "operational", "count", "count"), strict=True)
    )


def test_repeating_a_call_writes_nothing(store: Store) -> None:
    assert store.append("nightly", METRICS).written
    [first] = store.history()
    assert not store.append("nightly", METRICS).written
    assert not store.append("nightly", METRICS, timestamp=None).written
    [run] = store.history()
    assert run == first


def test_another_run_of_the_same_name_needs_an_id(store: Store) -> None:
    store.append("nightly", METRICS)
    with pytest.raises(errors.AlreadyExistsError, match="run_id="):
        store.append("nightly", {**METRICS, "rows/failed": 2})
    store.append("nightly", {**METRICS, "rows/failed": 2}, run_id="2")
    store.append("nightly", {**METRICS, "rows/failed": 3}, run_id="3")
    assert [run.values["rows/failed"] for run in store.history()] == [1, 2, 3]


def test_a_run_with_an_id_is_replaced_and_keeps_its_time(store: Store) -> None:
    store.append("first", {"a": 1.0, "b": 2.0}, run_id="it's; --")
    [first] = store.history()
    store.append("other", {"a": 5.0}, run_id="other")
    assert store.append("renamed", {"a": 1.5, "c": math.inf}, run_id="it's; --").written
    runs = {run.run_id: run for run in store.history()}
    replaced = runs["it's; --"]
    assert (replaced.run_name, replaced.timestamp) == ("renamed", first.timestamp)
    assert replaced.values == {"a": 1.5, "c": math.inf}
    assert runs["other"].values == {"a": 5.0}


def test_runs_are_in_the_order_of_their_time(store: Store) -> None:
    start = datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=9)))
    for day in (3, 1, 2):
        store.append(f"day-{day}", {"a": day / 10}, timestamp=start + timedelta(days=day))
    runs = store.history()
    assert names_of(runs) == ["day-1", "day-2", "day-3"]
    assert runs[0].timestamp == start + timedelta(days=1)
    frame = runs.to_pandas()
    assert list(frame["value"]) == [0.1, 0.2, 0.3]
    assert frame["timestamp"].is_monotonic_increasing


def test_new_metrics_do_not_change_earlier_runs(store: Store) -> None:
    store.append("before", {"a": 1.0})
    store.append("after", {"a": 0.5, "b": 0.25, "rows/failed": 3})
    assert [run.values for run in store.history()] == [
        {"a": 1.0},
        {"a": 0.5, "b": 0.25, "rows/failed": 3},
    ]


def test_texts_are_stored_unchanged_and_shown_as_texts(store: Store) -> None:
    texts = ["=HYPERLINK(1)", "<script>alert(1)</script>", "'; DROP TABLE x; --", "한국어 {{ }} 🙂"]
    for number, text in enumerate(texts):
        store.append(text, {"a": number / 10})
    store.append("cut \ud83d and \0", {"a": 1.0})
    runs = store.history()
    assert names_of(runs) == [*texts, "cut \ufffd<U+D83D> and \ufffd<U+0000>"]
    html = runs._repr_html_()
    assert "&lt;script&gt;" in html
    assert "<script" not in html


def test_nan_is_no_value(store: Store) -> None:
    store.append("run", {"a": math.nan, "b": 1.0})
    [run] = store.history()
    assert run.values == {"b": 1.0}
    assert not store.append("run", {"a": math.nan, "b": 1.0}).written


@pytest.mark.timeout(300)
def test_processes_at_once_neither_lose_nor_duplicate_a_run(store: Store) -> None:
    """Three processes create the table, add columns, and append the same and other runs."""
    workers, runs = ("x", "y", "z"), 2
    commands = [[sys.executable, str(WORKER), TABLE, store.form, w, str(runs)] for w in workers]
    environment = dict(os.environ)
    if store.options:
        environment["DATABRICKS_WAREHOUSE_ID"] = store.options["warehouse_id"]
    started = [
        subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        for command in commands
    ]
    failures = [process.communicate()[1] for process in started]
    assert [process.returncode for process in started] == [0] * len(workers), failures
    found = store.history()
    expected = [f"{worker}-{number}" for worker in workers for number in range(runs)]
    expected += ["shared"] * runs + [f"shared-{number}" for number in range(runs)]
    assert sorted(names_of(found)) == sorted(expected)
    assert sum(len(run.metrics) for run in found) == 2 * len(expected)


@pytest.mark.parametrize("form", ["long", "wide"])
def test_a_write_to_a_warehouse_may_be_repeated(form: str) -> None:
    """After a response that was lost, and after a conflict, which is recognized."""
    conflict = FailedStatement("[DELTA_CONCURRENT_APPEND] Files were added.", "2D521")
    for run_id in ("1", None):
        with LocalWorkspace() as workspace:
            workspace.add_warehouse("wh")
            store = Store(form, {"warehouse_id": "wh"})
            store.append("first", {"a": 0.5, "b": 1.0}, run_id="0")
            table = open_table(TableName.parse(TABLE), LoadOptions(**store.options))
            run = RunMetrics(
                run_name="second", run_id=run_id, metrics={"a": MetricPoint("score", 0.25)}
            )
            columns = table.columns()
            encoded = encode_run(run, form, columns)
            workspace.inject_fault("wh", conflict)
            with pytest.raises(errors.WarehouseError) as caught:
                table.write(encoded, key_of(run), columns)
            assert table.is_conflict(caught.value)
            workspace.inject_fault("wh", LostAnswer())
            table.write(encoded, key_of(run), columns)
            sent = [r for r in workspace.requests if "MERGE" in str(r.body)]
            assert len(sent) == 4
            found = {one.run_name: one.values for one in store.history()}
            assert found == {"first": {"a": 0.5, "b": 1.0}, "second": {"a": 0.25}}
            assert len(store.history()) == 2
            workspace.inject_fault("wh", conflict)
            assert store.append("third", {"a": 0.75, "b": 0.5}, run_id="3").written
            assert len(store.history()) == 3


@pytest.mark.parametrize("form", ["long", "wide"])
def test_a_table_that_another_writer_created_meanwhile_gets_the_missing_columns(form: str) -> None:
    with LocalWorkspace() as workspace:
        workspace.add_warehouse("wh")
        store = Store(form, {"warehouse_id": "wh"})
        table = open_table(TableName.parse(TABLE), LoadOptions(**store.options))
        run = RunMetrics(
            run_name="second", run_id=None, metrics={"of y": MetricPoint("score", 0.25)}
        )
        assert table.columns() is None
        store.append("first", {"of x": 0.5})
        # Of a table that did not exist when its columns were read.
        encoded = encode_run(run, form, None)
        if form == "wide":
            with pytest.raises(errors.DatabricksError, match="created") as caught:
                table.write(encoded, key_of(run), None)
            assert table.is_conflict(caught.value)
            columns = table.columns()
            encoded = encode_run(run, form, columns)
            table.write(encoded, key_of(run), columns)
        else:
            table.write(encoded, key_of(run), None)
        assert sorted(names_of(store.history())) == ["first", "second"]
        assert [len(one.metrics) for one in store.history()] == [1, 1]


def test_names_that_are_no_columns_are_mapped_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    names = ["pass@1", "Recall", "recall", "a b", "a_b", "x,y;z", "timestamp", "`q`", "", "n" * 300]
    metrics = {name: number / 10 for number, name in enumerate(names)}
    done = append_metrics_to_table("run", metrics, TABLE, form="wide")
    assert set(done.renamed) == {"recall", "a b", "x,y;z", "timestamp", "`q`", "", "n" * 300}
    assert "stores the metric 'a b' in the column 'a_b_" in caplog.text
    [run] = history(TABLE)
    assert run.values == {done.renamed.get(name, name): v for name, v in metrics.items()}
    # The same columns in later runs, in any order.
    again = append_metrics_to_table("later", {"recall": 1.0, "a b": 0.5}, TABLE)
    assert again.renamed == {name: done.renamed[name] for name in ("recall", "a b")}


def test_the_long_form_needs_no_mapping() -> None:
    metrics = {"Recall": 0.1, "recall": 0.2, "a b": 0.3, "timestamp": 0.4}
    assert append_metrics_to_table("run", metrics, TABLE).renamed == {}
    assert history(TABLE)[0].values == metrics


@pytest.fixture(scope="module")
def records() -> list[dict[str, Any]]:
    return [
        {"request": f"{n}?", "expected_response": "yes", "request_id": str(n)} for n in range(4)
    ]


def answer(model_input: dict) -> str:
    question = model_input["messages"][-1]["content"]
    if question == "0?":
        raise TimeoutError("slow")
    return "yes" if question == "1?" else "no"


@pytest.mark.usefixtures("mlflow_store")
@pytest.mark.parametrize("form", ["long", "wide"])
def test_a_result_is_stored_with_intervals_coverage_dataset_and_model(
    form: str, records: list[dict[str, Any]]
) -> None:
    EvalDataset.create("main.default.four", records)
    result = evaluate(answer, "main.default.four")
    append_metrics_to_table("v1", result, TABLE, form=form)
    assert not append_metrics_to_table("v1", EvaluationResult.load(result.run_id), TABLE).written
    # The name identifies the run also if only its metrics are passed.
    assert not append_metrics_to_table("v1", result.metrics, TABLE).written
    [run] = history(TABLE)
    assert (run.run_id, run.experiment_id) == (result.run_id, result.experiment_id)
    assert (run.dataset, run.dataset_version) == ("main.default.four", "0")
    assert run.model == result.manifest.model
    assert run.timestamp == datetime.fromisoformat(result.manifest.created_at)
    assert run.values == dict(result.metrics)
    point = run.metrics["response/ground_truth/exact_match/average"]
    expected = result.summary["exact_match"]
    assert (point.value, point.low, point.high) == (expected.value, *expected.interval)
    assert (point.n, point.total) == (3, 4)
    assert point.failures_as_zero == expected.failures_as_zero == 0.25
    assert run.metrics["rows/failed"].kind == "count"
    assert "(1 failed)" in history(TABLE)._repr_html_()
    assert "3 of 4 rows" in history(TABLE)._repr_html_()


@pytest.mark.usefixtures("mlflow_store")
def test_the_models_of_a_result_are_named() -> None:
    model = GenericFakeChatModel(messages=iter([AIMessage("yes")]))
    result = evaluate(model, [{"request": "a?"}])
    append_metrics_to_table("v1", result, TABLE)
    assert history(TABLE)[0].model == f"GenericFakeChatModel ({result.manifest.model})"


def test_a_table_of_the_documented_function_gets_the_missing_columns() -> None:
    """Its rows have neither a name nor a time."""
    import deltalake

    folder = catalog_root() / "main/metrics/runs"
    deltalake.write_deltalake(folder, pd.DataFrame([{"quality": 0.5, "other": 1.0}]))
    done = append_metrics_to_table("new", {"quality": 0.75}, TABLE)
    assert done.form == "wide"
    old, new = history(TABLE)
    assert (old.run_name, old.timestamp, old.values) == ("", None, {"quality": 0.5, "other": 1.0})
    assert (new.run_name, new.values) == ("new", {"quality": 0.75})


def test_a_column_that_would_change_the_values_is_an_error() -> None:
    import deltalake

    folder = catalog_root() / "main/metrics/runs"
    deltalake.write_deltalake(folder, pd.DataFrame([{"quality": 1, "label": "x"}]))
    append_metrics_to_table("fits", {"quality": 2.0}, TABLE)
    with pytest.raises(errors.SchemaError, match="'quality' has the type INT64"):
        append_metrics_to_table("half", {"quality": 0.5}, TABLE)
    with pytest.raises(errors.SchemaError, match="'label'"):
        append_metrics_to_table("text", {"label": 0.5}, TABLE)
    assert [run.values for run in history(TABLE)] == [{"quality": 1}, {"quality": 2}]


@pytest.mark.parametrize(
    "row",
    [
        {"metric": "quality", "value": 0.5},
        {"metric": "quality", "value": "high", "run_name": "r", "run_id": "1"},
    ],
)
def test_a_table_that_only_looks_like_one_of_metrics_is_an_error(row: dict[str, Any]) -> None:
    import deltalake

    deltalake.write_deltalake(catalog_root() / "main/metrics/runs", pd.DataFrame([row]))
    for call in (history, partial(append_metrics_to_table, "new", {"quality": 0.5})):
        with pytest.raises(errors.SchemaError, match=r"main\.metrics\.runs .*not a table"):
            call(TABLE)


def test_invalid_arguments_are_named() -> None:
    append_metrics_to_table("run", {"a": 1.0}, TABLE, form="long")
    EvalDataset.create("main.default.questions", [{"request": "a?"}])
    for error, message, arguments in [
        (errors.ConfigurationError, "`run_name`", ("", {"a": 1.0}, TABLE)),
        (errors.ConfigurationError, "metric 'a' must be a number", ("r", {"a": "x"}, TABLE)),
        (errors.ConfigurationError, r"run\.data\.metrics", ("r", [1.0], TABLE)),
        (errors.ConfigurationError, "is empty", ("r", {}, TABLE)),
        (errors.ConfigurationError, "three-level", ("r", {"a": 1.0}, "runs")),
        (errors.SchemaError, "evaluation dataset", ("r", {"a": 1.0}, "main.default.questions")),
    ]:
        with pytest.raises(error, match=message):
            append_metrics_to_table(*arguments)
    for message, options in [
        ("has the long form", {"form": "wide"}),
        ("`form` must be", {"form": "tall"}),
        ("`timestamp`", {"timestamp": "today"}),
        ("backend='mlflow' is not supported", {"backend": "mlflow"}),
    ]:
        with pytest.raises(errors.ConfigurationError, match=message):
            append_metrics_to_table("other", {"a": 1.0}, TABLE, **options)
    with pytest.raises(errors.NotFoundError, match="append_metrics_to_table creates it"):
        history("main.metrics.missing")
    with pytest.raises(errors.SchemaError, match="evaluation dataset"):
        history("main.default.questions")


def test_the_plot_shows_each_score_with_its_intervals_and_incomplete_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path))
    for day, n in enumerate((4, 3, 4)):
        append_metrics_to_table(
            f"cost $5 & $6 <b> {day}",
            {"response/llm_judged/safety/rating/percentage": day / 4, "b": 0.5, "rows/failed": n},
            TABLE,
            timestamp=datetime(2026, 1, 1 + day, tzinfo=timezone.utc),
        )
    runs = history(TABLE)
    figure = runs.plot()
    titles = [axes.get_title(loc="left") for axes in figure.axes if axes.get_visible()]
    assert titles == ["b", "response/llm_judged/safety/rating/percentage"]
    [of_one] = [axes for axes in runs.plot("safety").axes if axes.get_visible()]
    assert list(of_one.lines[0].get_ydata()) == [0.0, 0.25, 0.5]
    figure.savefig(tmp_path / "quality.png")
    assert (tmp_path / "quality.png").stat().st_size > 5_000
    with pytest.raises(errors.ConfigurationError, match="'unknown' is not known"):
        runs.plot("unknown")


def test_matplotlib_is_loaded_by_a_plot_only() -> None:
    program = (
        "import sys; from langchain_dbx_eval import append_metrics_to_table\n"
        "from langchain_dbx_eval.reporting import history, write_dashboard\n"
        "import json; print(json.dumps([m for m in ('matplotlib', 'pandas', 'mlflow', 'deltalake')"
        " if m in sys.modules]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == []
