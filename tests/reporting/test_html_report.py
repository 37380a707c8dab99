"""The file of the HTML report: its data, what it leaves out, and how it is protected."""

from __future__ import annotations

import platform
import re
import shutil
from pathlib import Path
from typing import Any

import mlflow
import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import RunnableLambda

from langchain_dbx_eval import EvaluationResult, compare, errors, evaluate
from langchain_dbx_eval.evaluation.journal.store import Journal
from langchain_dbx_eval.reporting import write_report
from langchain_dbx_eval.reporting.html.redaction import REDACTED, Redactor
from tests.reporting.report_file import read_elements, read_overview, read_rows
from tests.reporting.report_samples import HOSTILE, as_stored, hostile_rows, large_result
from tests.scoring.scripted_judge import ScriptedJudge, requested_judge, verdict

pytestmark = pytest.mark.usefixtures("mlflow_store")
NO_JUDGES: Any = {"databricks-agent": {"metrics": []}}


def result_of(**answers: str) -> EvaluationResult:
    """Evaluate answers by request id; the expected response is always "right"."""
    rows = [
        {"request_id": key, "request": f"{key}?", "response": answer, "expected_response": "right"}
        for key, answer in answers.items()
    ]
    return evaluate(data=rows, evaluator_config=NO_JUDGES)


def test_the_numbers_are_those_of_the_summary(tmp_path: Path) -> None:
    result = result_of(a="right", b="wrong", c="right or wrong")
    [run] = read_overview(write_report(result, tmp_path / "deep" / "report.html"))["runs"]
    metrics = {metric["name"]: metric for metric in run["metrics"]}
    assert metrics.keys() == {*result.metrics}
    f1 = metrics["response/ground_truth/token_f1/average"]
    detail = result.summary[f1["name"]]
    assert (f1["value"], f1["n"], f1["total"]) == (pytest.approx(detail.value), 3, 3)
    assert (f1["low"], f1["high"]) == pytest.approx((detail.interval.low, detail.interval.high))
    assert run["rows"] == vars(result.summary.rows)
    assert ["MLflow run", result.run_id] in run["facts"]


def test_a_row_has_all_that_the_journal_has(tmp_path: Path) -> None:
    def fail(question: str) -> str:
        raise ValueError("first line\nsecond line")

    record = {"request_id": "x", "request": "Why?", "expected_facts": ["because"], "team": "blue"}
    result = evaluate(RunnableLambda(fail), [record], evaluator_config=NO_JUDGES)
    [row] = read_rows(write_report(result, tmp_path / "r.html"))
    assert (row["id"], row["verdict"], row["error_class"]) == ("x", "error", "ValueError")
    assert row["error"].endswith("first line\nsecond line")
    assert row["expectations"] == {"expected_facts": ["because"]}
    assert row["metadata"] == {"team": "blue"}
    assert row["spans"][0]["kind"] == "CHAIN"
    assert row["trace_id"] == result.trace_ids[0]


def test_slices_are_the_columns_with_a_few_values(tmp_path: Path) -> None:
    rows = [
        {
            "request": f"{n}?",
            "response": "a",
            "expected_response": "a" if n % 2 else "b",
            "team": "blue" if n % 2 else "red",
            "unique": f"value {n}",
            "constant": "same",
        }
        for n in range(8)
    ]
    result = evaluate(data=rows, evaluator_config=NO_JUDGES)
    [run] = read_overview(write_report(result, tmp_path / "r.html"))["runs"]
    found = {(one["column"], one["value"]): one for one in run["slices"]}
    assert found.keys() == {("team", "blue"), ("team", "red")}
    exact = "response/ground_truth/exact_match/average"
    values = {
        name: metric["value"]
        for (_, name), one in found.items()
        for metric in one["metrics"]
        if metric["name"] == exact
    }
    assert values == {"blue": 1.0, "red": 0.0}
    assert run["index"]["slices"]["team"] == [1, 0] * 4


def test_a_comparison_has_the_partner_of_each_row(tmp_path: Path) -> None:
    result, baseline = result_of(a="right", b="wrong", new="right"), result_of(b="right", a="wrong")
    path = write_report(result, tmp_path / "r.html", baselines=[baseline])
    overview = read_overview(path)
    [comparison] = overview["comparisons"]
    assert comparison["partners"] == [1, 0, None]
    assert (comparison["paired"], comparison["only_run"]) == (2, 1)
    flips = {(flip["row"], flip["passed"]) for flip in comparison["flips"]}
    assert flips == {(0, True), (1, False)}
    assert [row["id"] for row in read_rows(path, run=1)] == ["b", "a"]


def test_a_comparison_alone_shows_its_differences(tmp_path: Path) -> None:
    result, baseline = result_of(a="right"), result_of(a="wrong")
    path = write_report(result, tmp_path / "r.html", comparison=compare(result, baseline))
    [comparison] = read_overview(path)["comparisons"]
    assert comparison["partners"] is None
    exact = "response/ground_truth/exact_match/average"
    assert {m["name"]: m["difference"] for m in comparison["metrics"]}[exact] == 1


def test_four_baselines_are_an_error(tmp_path: Path) -> None:
    result = result_of(a="right")
    with pytest.raises(errors.ConfigurationError, match="'baselines' may contain 3"):
        write_report(result, tmp_path / "r.html", baselines=[result] * 4)


def test_a_comparison_with_other_baselines_is_an_error(tmp_path: Path) -> None:
    result = result_of(a="right")
    comparison = compare(result, result, result)
    with pytest.raises(errors.ConfigurationError, match="is with 2 evaluations"):
        write_report(result, tmp_path / "r.html", comparison=comparison, baselines=[result])


def test_chunks_have_the_ratings_of_their_judge(tmp_path: Path) -> None:
    def rate(messages: list[Any]) -> str:
        is_chunk = requested_judge(messages) == "chunk_relevance"
        return verdict("no" if is_chunk and "second" in str(messages[1].content) else "yes", "why")

    chunks = [{"doc_uri": name, "content": name} for name in ("first", "second")]
    chunks.insert(1, {"doc_uri": "without content"})
    data = [{"request": "q", "response": "a", "retrieved_context": chunks}]
    [row] = read_rows(
        write_report(evaluate(data=data, judge=ScriptedJudge(script=rate)), tmp_path / "r.html")
    )
    assert [chunk["relevant"] for chunk in row["chunks"]] == ["yes", None, "no"]
    assert [chunk["rationale"] for chunk in row["chunks"]] == ["why", None, "why"]


def test_the_trace_of_a_record_is_shown_as_steps(tmp_path: Path) -> None:
    with mlflow.start_span("agent") as span:
        span.set_inputs({"question": "q"})
        with mlflow.start_span("search", span_type="RETRIEVER") as inner:
            inner.set_outputs([{"page_content": "text"}])
        span.set_outputs("a")
    trace = mlflow.get_trace(span.trace_id, flush=True)
    result = evaluate(data=[{"request": "q", "trace": trace}], evaluator_config=NO_JUDGES)
    [row] = read_rows(write_report(result, tmp_path / "r.html"))
    assert [(step["name"], step["parent"]) for step in row["spans"]] == [
        ("agent", None),
        ("search", 0),
    ]
    assert row["spans"][0]["duration"] >= row["spans"][1]["duration"] >= 0


def test_pages_have_the_rows_in_order(tmp_path: Path) -> None:
    path = write_report(large_result(230), tmp_path / "r.html")
    [run] = read_overview(path)["runs"]
    assert run["pages"] > 2
    assert [row["id"] for row in read_rows(path)] == run["index"]["id"]
    elements = read_elements(path)
    for position, page in enumerate(run["index"]["page"]):
        assert any(row["number"] == position for row in elements[f"page-0-{page}"])


def test_any_text_comes_back_as_it_is_stored_and_leaves_the_page_intact(tmp_path: Path) -> None:
    path = write_report(evaluate(data=hostile_rows()), tmp_path / "r.html")
    expected = [as_stored(text) for text in HOSTILE.values()]
    assert [row["question"] for row in read_rows(path)] == expected
    markup = re.sub(r'(<script type="text/plain"[^>]*>)[^<]*', r"\1", path.read_text("utf-8"))
    assert "owned" not in markup
    assert markup.count("<script") == markup.count("</script>")


def test_the_policy_of_the_page_permits_its_own_script_only(tmp_path: Path) -> None:
    page = write_report(result_of(a="x"), tmp_path / "r.html").read_text(encoding="utf-8")
    [policy] = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]+)"', page)
    assert "default-src &#x27;none&#x27;" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert not re.search(r'(?:src|href)="(?!data:,)', page)


def test_nothing_of_the_environment_is_in_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABRICKS_TOKEN", "dapi-secret-of-the-environment")
    result = result_of(a="right")
    path = write_report(result, tmp_path / "r.html")
    text = repr(read_elements(path))
    for secret in ("dapi-secret", str(tmp_path), str(result.journal), mlflow.get_tracking_uri()):
        assert secret not in text


def test_redacted_texts_are_nowhere(tmp_path: Path) -> None:
    secret = 'Jane "Q" Doe'
    rows = [
        {
            "request_id": f"order of {secret}",
            "request": {"messages": [{"role": "user", "content": f"I am {secret}."}]},
            "response": f'{{"customer": "{secret}", "mail": "jane@example.com"}}',
            "expected_response": f"Dear {secret}",
            "retrieved_context": [{"doc_uri": "a", "content": f"{secret} +49 30 1234567"}],
            "owner": secret,
            secret: "a column",
        }
    ]
    mails = re.compile(r"[\w.]+@[\w.]+")
    path = write_report(
        evaluate(data=rows, run_name=secret), tmp_path / "r.html", redact=[secret, mails]
    )
    text = repr(read_elements(path)) + path.read_text(encoding="utf-8")
    assert "Jane" not in text
    assert "example.com" not in text
    assert "+49 30" in text
    assert read_overview(path)["redacted"] is True
    assert read_rows(path)[0]["expected"] == f"Dear {REDACTED}"


@pytest.mark.parametrize("redact", [[""], [1], [re.compile(b"x")]])
def test_something_else_to_redact_is_an_error(tmp_path: Path, redact: Any) -> None:
    with pytest.raises(errors.ConfigurationError, match="'redact' takes texts and patterns"):
        write_report(result_of(a="x"), tmp_path / "r.html", redact=redact)
    assert list(tmp_path.glob("*.html*")) == []


def test_a_text_inside_json_is_found_by_its_escaped_form() -> None:
    redactor = Redactor(['a "b"\n', "é"])
    assert (
        redactor(r'{"x": "a \"b\"\n", "y": "\u00e9"}') == '{"x": "[redacted]", "y": "[redacted]"}'
    )


def test_the_report_is_an_artifact_of_the_run(tmp_path: Path) -> None:
    result = result_of(a="right")
    path = write_report(result, tmp_path / "report.html", log_artifact=True)
    logged = mlflow.artifacts.download_artifacts(run_id=result.run_id, artifact_path="report.html")
    assert Path(logged).read_bytes() == path.read_bytes()


class _Counting(BaseChatModel):
    """A chat model that reports tokens."""

    model_name: str = "counting"

    @property
    def _llm_type(self) -> str:
        return "counting"

    def _get_ls_params(self, *args: Any, **kwargs: Any) -> Any:
        return {"ls_model_name": self.model_name}

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        usage = UsageMetadata(input_tokens=1000, output_tokens=500, total_tokens=1500)
        message = AIMessage("answer", usage_metadata=usage)
        return ChatResult(generations=[ChatGeneration(message=message)])


def test_a_step_has_the_cost_of_its_model_if_the_model_has_a_price(tmp_path: Path) -> None:
    models = {name: _Counting(model_name=name) for name in ("cheap", "dear", "free")}
    chain: Any = RunnableLambda(lambda _: [m.invoke("q").text for m in models.values()])
    prices = {"cheap": {"input": 1, "output": 2}, "dear": {"input": 10, "output": 20}}
    result = evaluate(chain, [{"request": "q"}], prices=prices, evaluator_config=NO_JUDGES)
    [row] = read_rows(write_report(result, tmp_path / "r.html"))
    costs = [span["cost"] for span in row["spans"]]
    assert costs == [None, pytest.approx(0.002), pytest.approx(0.02), None]
    # One of the models has no price.
    assert row["cost"] is None


def test_the_header_has_the_packages_that_ran_the_evaluation(tmp_path: Path) -> None:
    result = result_of(a="right")
    Journal.find(result.journal).update_manifest(versions={"Python": "3.9", "mlflow": "3.0"})
    [run] = read_overview(write_report(result, tmp_path / "r.html"))["runs"]
    assert ["Packages", "Python 3.9, mlflow 3.0"] in run["facts"]

    # The journal of an earlier release does not have them.
    files = Path(__file__).parents[1] / "evaluation" / "journal" / "files"
    earlier = EvaluationResult.load(shutil.copy(files / "v4.sqlite", tmp_path))
    [run] = read_overview(write_report(earlier, tmp_path / "earlier.html"))["runs"]
    facts = dict(run["facts"])
    assert "Packages" not in facts
    title = "Packages of the report, not of the evaluation"
    assert f"Python {platform.python_version()}" in facts[title]
