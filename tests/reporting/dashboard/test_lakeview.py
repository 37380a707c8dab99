"""The file of the AI/BI dashboard: its queries run, and its widgets show their columns."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from langchain_dbx_eval import append_metrics_to_table, errors
from langchain_dbx_eval.datasets.base import LoadOptions
from langchain_dbx_eval.datasets.databricks.warehouse import WarehouseEngine
from langchain_dbx_eval.reporting import write_dashboard
from langchain_dbx_eval.testing import LocalWorkspace

TABLE = "main.metrics.`my-runs`"
SAFETY = "response/llm_judged/safety/rating/percentage"
# databricks-solutions/ai-dev-kit, "Widget Index".
VERSIONS = {
    "line": 3,
    "bar": 3,
    "table": 2,
    "filter-multi-select": 2,
    "filter-single-select": 2,
    "filter-date-range-picker": 2,
}


@pytest.fixture(scope="module")
def dashboard(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = write_dashboard(TABLE, tmp_path_factory.mktemp("dashboard") / "quality", metric=SAFETY)
    assert path.name == "quality.lvdash.json"
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def results(dashboard: dict[str, Any]) -> Iterator[dict[str, list[dict[str, Any]]]]:
    """The rows of each query of the dashboard, over a table that was appended to."""
    with LocalWorkspace() as workspace:
        workspace.add_warehouse("wh")
        for day in (1, 2):
            metrics = {
                SAFETY: 0.5 + day / 10,
                "rows/failed": day,
                "rows/total": 10,
                "agent/latency_seconds/average": 1.5,
            }
            when = datetime(2026, 1, day, tzinfo=timezone.utc)
            append_metrics_to_table(f"v{day}", metrics, TABLE, warehouse_id="wh", timestamp=when)
        engine = WarehouseEngine(LoadOptions(warehouse_id="wh"))
        yield {
            dataset["name"]: list(engine.query("".join(dataset["queryLines"])))
            for dataset in dashboard["datasets"]
        }


def widgets(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    return [item["widget"] for page in dashboard["pages"] for item in page["layout"]]


def test_the_queries_return_the_metrics_of_the_table(results) -> None:
    scores, [latest] = results["scores"], results["latest"]
    assert [(row["run_name"], row["value"]) for row in scores] == [("v1", 0.6), ("v2", 0.7)]
    assert (latest["run_name"], latest["metric"]) == ("v2", SAFETY)
    assert latest["change"] == pytest.approx(0.1)
    assert [(row["metric"], row["failed"]) for row in results["failures"]] == [
        ("rows/failed", 1),
        ("rows/failed", 2),
    ]
    assert {row["metric"] for row in results["operations"]} == {"agent/latency_seconds/average"}


def test_each_widget_reads_columns_that_its_query_returns(dashboard, results) -> None:
    for widget in widgets(dashboard):
        for query in (one["query"] for one in widget.get("queries", ())):
            columns = results[query["datasetName"]][0].keys()
            for selected in query["fields"]:
                assert selected["name"] in columns, widget["name"]
                assert selected["expression"] == f"`{selected['name']}`"


def test_each_widget_shows_the_fields_that_it_queries(dashboard) -> None:
    for widget in widgets(dashboard):
        if "spec" not in widget:
            assert widget["multilineTextboxSpec"]["lines"] == ["# Quality of evaluations"]
            continue
        spec = widget["spec"]
        assert spec["version"] == VERSIONS[spec["widgetType"]]
        by_query = {
            query["name"]: {selected["name"] for selected in query["query"]["fields"]}
            for query in widget["queries"]
        }
        for channel in spec["encodings"].values():
            nested = channel if isinstance(channel, list) else channel.get("fields", [channel])
            for encoding in nested:
                query = encoding.get("queryName", "main_query")
                assert encoding["fieldName"] in by_query[query], widget["name"]


def test_the_widgets_have_names_and_places_of_their_own(dashboard) -> None:
    names = [widget["name"] for widget in widgets(dashboard)]
    assert len(set(names)) == len(names)
    for page in dashboard["pages"]:
        cells: set[tuple[int, int]] = set()
        for item in page["layout"]:
            at = item["position"]
            of_widget = {
                (x, y)
                for x in range(at["x"], at["x"] + at["width"])
                for y in range(at["y"], at["y"] + at["height"])
            }
            assert at["x"] + at["width"] <= 12
            assert not cells & of_widget, item["widget"]["name"]
            cells |= of_widget


def test_the_page_with_intervals_starts_with_the_metric(dashboard) -> None:
    [chosen] = [w for w in widgets(dashboard) if w["name"] == "filter-one-metric"]
    selection = chosen["spec"]["selection"]["defaultSelection"]["values"]["values"]
    assert selection == [{"value": SAFETY}]


def test_the_dashboard_of_an_invalid_name_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(errors.ConfigurationError, match="three-level"):
        write_dashboard("runs; DROP TABLE x", tmp_path / "quality")
