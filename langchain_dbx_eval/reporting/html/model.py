"""The data of a report: what the page's scripts read, as plain JSON.

A report has an overview (`ReportData`), and pages of rows (`RowDetail`) that are decoded when they
are shown.
"""

from __future__ import annotations

from typing import Any, Literal, TypedDict

__all__ = [
    "ChunkDetail",
    "ComparisonData",
    "FlipData",
    "MessageDetail",
    "MetricData",
    "MetricDifferenceData",
    "RatingDetail",
    "ReportData",
    "RowDetail",
    "RowIndex",
    "RunData",
    "ScoreColumn",
    "SliceData",
    "SpanDetail",
    "Verdict",
]

Verdict = Literal["error", "fail", "empty", "unknown", "none", "pass"]
"""``error``: the invocation failed; ``empty``: an empty answer that no judge rated; ``unknown``: a
judge had an error; ``none``: an answer that no judge rated."""


class MetricData(TypedDict):
    """One metric of a run: `MetricSummary` as JSON; ``zeros`` is its `failures_as_zero`."""

    name: str
    text: str
    kind: Literal["score", "operational", "count"]
    value: float | None
    low: float | None
    high: float | None
    n: int
    total: int
    clusters: int
    zeros: float | None


class SliceData(TypedDict):
    """The rows with one value of a column of the records."""

    column: str
    value: str
    rows: int
    failed: int
    metrics: list[MetricData]


class ScoreColumn(TypedDict):
    """A column of scores: ``column`` is that of the table, ``name`` the name of the scorer."""

    column: str
    name: str
    kind: Literal["rating", "number"]
    source: str


class RowIndex(TypedDict):
    """What the table, the filters and the charts show of all rows of a run, by column.

    ``scores`` contains numbers ("yes" is 1), texts of other ratings, ``"error"``, and None.
    ``digest`` tells different answers apart. ``slices`` contains positions in ``slice_values``,
    ``page`` the page of each row.
    """

    id: list[str]
    number: list[int]
    repetition: list[int]
    page: list[int]
    verdict: list[Verdict]
    cause: list[str | None]
    error: list[str | None]
    question: list[str]
    answer: list[str]
    digest: list[str]
    latency: list[float | None]
    tokens: list[int | None]
    scores: dict[str, list[float | str | None]]
    slices: dict[str, list[int | None]]
    slice_values: dict[str, list[str]]


class RunData(TypedDict):
    """One evaluation."""

    label: str
    facts: list[list[str]]
    evaluation_id: str
    run_id: str | None
    rows: dict[str, int]
    warning: str
    notes: list[str]
    metrics: list[MetricData]
    columns: list[ScoreColumn]
    slices: list[SliceData]
    index: RowIndex
    pages: int


class MetricDifferenceData(TypedDict):
    """One metric of the run and of a baseline, on the rows that both have.

    ``lacking`` is the number of pairs with a value on one side only.
    """

    name: str
    kind: Literal["score", "operational", "count"]
    baseline: float | None
    candidate: float | None
    difference: float | None
    low: float | None
    high: float | None
    p: float | None
    significant: bool
    pairs: int
    lacking: int


class FlipData(TypedDict):
    """A row whose pass or fail changed; ``row`` is its position in the run."""

    metric: str
    row: int | None
    request_id: str
    passed: bool
    cause_before: str | None
    cause_after: str | None


class ComparisonData(TypedDict):
    """The differences between the run and one baseline; ``partners``: the row of each row."""

    label: str
    paired: int
    only_baseline: int
    only_run: int
    metrics: list[MetricDifferenceData]
    flips: list[FlipData]
    latency: list[list[Any]]
    partners: list[int | None] | None


class ReportData(TypedDict):
    """The overview of a report; the first run is the evaluation, the others are its baselines."""

    version: int
    title: str
    generator: str
    redacted: bool
    runs: list[RunData]
    comparisons: list[ComparisonData]


class MessageDetail(TypedDict):
    """One message of a conversation."""

    role: str
    text: str
    calls: list[dict[str, Any]]


class ChunkDetail(TypedDict):
    """One retrieved document; ``expected`` is None without ground truth."""

    uri: str | None
    content: str | None
    expected: bool | None
    relevant: str | None
    rationale: str | None


class RatingDetail(TypedDict):
    """One assessment."""

    name: str
    column: str
    value: float | bool | str | None
    number: float | None
    rationale: str | None
    error: str | None
    source: str
    judge: str | None
    tokens: int | None
    cost: float | None
    seconds: float | None


class SpanDetail(TypedDict):
    """One step; ``parent`` is its position in the list of steps, times are in milliseconds."""

    name: str
    kind: str
    parent: int | None
    start: float
    duration: float
    first_token: float | None
    input_tokens: int | None
    output_tokens: int | None
    cost: float | None
    inputs: Any
    outputs: Any
    error: str | None


class RowDetail(TypedDict):
    """All of one row."""

    id: str
    number: int
    repetition: int
    matched: bool
    trace_id: str | None
    verdict: Verdict
    cause: str | None
    cause_rationale: str | None
    action: str | None
    request: Any
    question: str
    messages: list[MessageDetail]
    response: Any
    answer: str | None
    error: str | None
    error_class: str | None
    traceback: str | None
    expected: str | None
    expectations: dict[str, Any]
    chunks: list[ChunkDetail] | None
    missed: list[str]
    ratings: list[RatingDetail]
    skipped: list[list[str]]
    latency: float | None
    first_token: float | None
    input_tokens: int | None
    output_tokens: int | None
    cost: float | None
    metadata: dict[str, Any]
    spans: list[SpanDetail]
