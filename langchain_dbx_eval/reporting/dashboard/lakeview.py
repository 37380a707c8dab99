"""`write_dashboard`: the file of a Databricks AI/BI dashboard over a table of metrics.

The format of ``.lvdash.json`` is that of dashboards which Databricks exports (databricks/
bundle-examples, ``knowledge_base/dashboard_nyc_taxi``); the versions of the widgets are those of
databricks-solutions/ai-dev-kit, "AI/BI Dashboard Skill".
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from langchain_dbx_eval.datasets.schema.table_name import TableName
from langchain_dbx_eval.scoring.contract import OVERALL_ASSESSMENT

__all__ = ["dashboard_queries", "write_dashboard"]

_SUFFIX = ".lvdash.json"
_TIME: dict[str, Any] = {
    "fieldName": "timestamp",
    "displayName": "Time",
    "scale": {"type": "temporal"},
}
_NUMBER = {"type": "quantitative"}
_CATEGORY = {"type": "categorical"}


def write_dashboard(
    table: str,
    path: str | Path,
    *,
    title: str = "Quality of evaluations",
    metric: str = f"{OVERALL_ASSESSMENT}/rating/percentage",
) -> Path:
    """Write a dashboard of a table in the long form, as a file that Databricks imports.

    Args:
        table: The table, ``catalog.schema.table``; it need not exist yet.
        path: The file; ``.lvdash.json`` is added if it has another ending.
        title: The heading of the dashboard.
        metric: The metric that the page with intervals shows first.

    Returns:
        The path of the file.

    Raises:
        ConfigurationError: `table` is not a three-level name.
    """
    name = TableName.parse(table)
    file = Path(path)
    if not file.name.endswith(_SUFFIX):
        file = file.with_name(file.name + _SUFFIX)
    file.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(_dashboard(name, title, metric), indent=2, ensure_ascii=False)
    file.write_text(text + "\n", encoding="utf-8")
    return file


def dashboard_queries(table: TableName) -> dict[str, str]:
    """Return the queries of the dashboard, in Databricks' SQL, by the name of their dataset."""
    columns = "`timestamp`, run_name, run_id, dataset, model, metric"
    source = f"FROM {table.sql}"
    return {
        "scores": f"""SELECT {columns}, value, low, high, n, total, failures_as_zero
{source}
WHERE kind = 'score'
ORDER BY `timestamp`""",
        "latest": f"""SELECT {columns}, value, low, high, n, total, value - previous AS change
FROM (
  SELECT *,
    lag(value) OVER (PARTITION BY dataset, metric ORDER BY `timestamp`) AS previous,
    row_number() OVER (PARTITION BY dataset, metric ORDER BY `timestamp` DESC) AS age
  {source}
  WHERE kind = 'score'
) AS ranked
WHERE age = 1
ORDER BY dataset, metric""",  # noqa: S608
        "failures": f"""SELECT {columns}, value AS failed, total
{source}
WHERE kind = 'count' AND metric NOT IN ('rows/total', 'rows/answered')
ORDER BY `timestamp`""",
        "operations": f"""SELECT {columns}, value
{source}
WHERE kind = 'operational'
ORDER BY `timestamp`""",
    }


def _dashboard(table: TableName, title: str, metric: str) -> dict[str, Any]:
    datasets = [
        {
            "name": name,
            "displayName": name.capitalize(),
            # Databricks joins the lines without a separator.
            "queryLines": sql.splitlines(keepends=True),
        }
        for name, sql in dashboard_queries(table).items()
    ]
    return {
        "datasets": datasets,
        "pages": [_quality_page(title), _metric_page(metric), _operations_page()],
    }


def _quality_page(title: str) -> dict[str, Any]:
    columns = {
        "dataset": "Dataset",
        "metric": "Metric",
        "run_name": "Latest run",
        "value": "Value",
        "low": "95 % from",
        "high": "to",
        "n": "Rows",
        "total": "of",
        "change": "Change",
    }
    by_metric = {
        "x": _TIME,
        "y": {"fieldName": "value", "displayName": "Score", "scale": _NUMBER},
        "color": {"fieldName": "metric", "displayName": "Metric", "scale": _CATEGORY},
    }
    return _page(
        "quality",
        "Quality",
        [
            (_text("title", f"# {title}"), (0, 0, 12, 1)),
            (_filter("filter-dataset", "Dataset", "dataset", ["scores", "latest"]), (0, 1, 4, 2)),
            (_filter("filter-metric", "Metric", "metric", ["scores", "latest"]), (4, 1, 4, 2)),
            (_date_filter("filter-time", ["scores"]), (8, 1, 4, 2)),
            (
                _chart("scores-over-time", "Scores over time", "line", "scores", by_metric),
                (0, 3, 12, 7),
            ),
            (_table("latest-scores", "Latest run and change", "latest", columns), (0, 10, 12, 8)),
        ],
    )


def _metric_page(metric: str) -> dict[str, Any]:
    interval = {
        "x": _TIME,
        "y": {
            "scale": _NUMBER,
            "fields": [
                {"fieldName": "value", "displayName": "Value"},
                {"fieldName": "low", "displayName": "95 % interval, from"},
                {"fieldName": "high", "displayName": "95 % interval, to"},
            ],
        },
    }
    columns = {
        "timestamp": "Time",
        "run_name": "Run",
        "dataset": "Dataset",
        "model": "Model",
        "value": "Value",
        "low": "95 % from",
        "high": "to",
        "n": "Rows",
        "total": "of",
        "failures_as_zero": "Failures as 0",
        "run_id": "MLflow run",
    }
    single = _filter("filter-one-metric", "Metric", "metric", ["scores"], default=metric)
    return _page(
        "interval",
        "One metric with its interval",
        [
            (single, (0, 0, 6, 2)),
            (_filter("filter-one-dataset", "Dataset", "dataset", ["scores"]), (6, 0, 6, 2)),
            (
                _chart("interval", "Value and 95 % interval", "line", "scores", interval),
                (0, 2, 12, 7),
            ),
            (_table("runs", "Runs", "scores", columns), (0, 9, 12, 8)),
        ],
    )


def _operations_page() -> dict[str, Any]:
    failed = {
        "x": _TIME,
        "y": {"fieldName": "failed", "displayName": "Rows", "scale": _NUMBER},
        "color": {"fieldName": "metric", "displayName": "What failed", "scale": _CATEGORY},
    }
    cost = {
        "x": _TIME,
        "y": {"fieldName": "value", "displayName": "Value", "scale": _NUMBER},
        "color": {"fieldName": "metric", "displayName": "Metric", "scale": _CATEGORY},
    }
    both = ["failures", "operations"]
    metric = _filter(
        "filter-operation",
        "Latency, tokens or cost",
        "metric",
        ["operations"],
        default="agent/latency_seconds/average",
    )
    return _page(
        "operations",
        "Failures, latency and cost",
        [
            (_filter("filter-operations-dataset", "Dataset", "dataset", both), (0, 0, 6, 2)),
            (metric, (6, 0, 6, 2)),
            (_chart("failures", "Rows that failed", "bar", "failures", failed), (0, 2, 12, 6)),
            (
                _chart("operations", "Latency, tokens, cost", "line", "operations", cost),
                (0, 8, 12, 6),
            ),
        ],
    )


def _page(
    name: str, title: str, widgets: Sequence[tuple[dict[str, Any], tuple[int, int, int, int]]]
) -> dict[str, Any]:
    return {
        "name": name,
        "displayName": title,
        "pageType": "PAGE_TYPE_CANVAS",
        "layoutVersion": "GRID_V1",
        "layout": [
            {
                "widget": widget,
                "position": dict(zip(("x", "y", "width", "height"), at, strict=True)),
            }
            for widget, at in widgets
        ],
    }


def _text(name: str, markdown: str) -> dict[str, Any]:
    return {"name": name, "multilineTextboxSpec": {"lines": [markdown]}}


def _chart(
    name: str, title: str, kind: str, dataset: str, encodings: Mapping[str, Any]
) -> dict[str, Any]:
    channels = [one for channel in encodings.values() for one in channel.get("fields", [channel])]
    return {
        "name": name,
        "queries": [
            _query("main_query", dataset, [one["fieldName"] for one in channels], rows=True)
        ],
        "spec": {"version": 3, "widgetType": kind, "encodings": encodings, "frame": _frame(title)},
    }


def _table(name: str, title: str, dataset: str, columns: Mapping[str, str]) -> dict[str, Any]:
    encodings = {
        "columns": [{"fieldName": field, "displayName": shown} for field, shown in columns.items()]
    }
    return {
        "name": name,
        "queries": [_query("main_query", dataset, list(columns), rows=True)],
        "spec": {
            "version": 2,
            "widgetType": "table",
            "encodings": encodings,
            "frame": _frame(title),
        },
    }


def _filter(
    name: str, title: str, field: str, datasets: Sequence[str], default: str | None = None
) -> dict[str, Any]:
    widget = _filter_widget(name, title, field, datasets, "filter-multi-select")
    if default is not None:
        values = {"dataType": "STRING", "values": [{"value": default}]}
        widget["spec"]["widgetType"] = "filter-single-select"
        widget["spec"]["selection"] = {"defaultSelection": {"values": values}}
    return widget


def _date_filter(name: str, datasets: Sequence[str]) -> dict[str, Any]:
    return _filter_widget(name, "Time", "timestamp", datasets, "filter-date-range-picker")


def _filter_widget(
    name: str, title: str, field: str, datasets: Sequence[str], kind: str
) -> dict[str, Any]:
    fields = [
        {"fieldName": field, "displayName": title, "queryName": f"{dataset}_{field}"}
        for dataset in datasets
    ]
    return {
        "name": name,
        "queries": [_query(f"{one}_{field}", one, [field], rows=False) for one in datasets],
        "spec": {
            "version": 2,
            "widgetType": kind,
            "encodings": {"fields": fields},
            "frame": _frame(title),
        },
    }


def _query(name: str, dataset: str, fields: Sequence[str], *, rows: bool) -> dict[str, Any]:
    """Return a query of a widget; `rows`: the rows of the dataset, not grouped."""
    return {
        "name": name,
        "query": {
            "datasetName": dataset,
            "fields": [{"name": field, "expression": f"`{field}`"} for field in fields],
            "disaggregated": rows,
        },
    }


def _frame(title: str) -> dict[str, Any]:
    return {"showTitle": True, "title": title}
