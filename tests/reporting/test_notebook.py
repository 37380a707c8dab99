"""What a notebook shows of evaluations, comparisons, rows and datasets, and `show()`."""

from __future__ import annotations

import html
import re
import sys
import webbrowser
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell

from langchain_dbx_eval import EvalDataset, EvaluationResult, compare, errors, evaluate
from langchain_dbx_eval.reporting import Comparison
from tests.reporting.report_samples import HOSTILE, as_stored, hostile_rows
from tests.reporting.support_answers import evaluate_support
from tests.scoring.scripted_judge import ScriptedJudge, verdict

pytestmark = [pytest.mark.usefixtures("mlflow_store"), pytest.mark.xdist_group("browser")]
F1 = "response/ground_truth/token_f1/average"
_NO_END = ("br", "img", "input", "meta", "link", "hr")


class _Checker(HTMLParser):
    """Checks that elements are closed, and that there is nothing that runs or loads."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        assert tag not in ("script", "img", "link", "iframe", "object", "a"), tag
        for name, value in attributes:
            assert name in ("class", "style", "title", "dir", "scope", "open"), name
            assert "url(" not in (value or "")
        if tag not in _NO_END:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self._open:
            self.texts.append(data)


def texts_of(page: str) -> str:
    """Return the visible text of a valid output of a cell."""
    return " ".join(_Checker(page).texts)


def result_of(**answers: str) -> EvaluationResult:
    """Evaluate answers by request id; the expected response is always "right"."""
    rows = [
        {"request_id": key, "request": f"{key}?", "response": answer, "expected_response": "right"}
        for key, answer in answers.items()
    ]
    return evaluate(data=rows)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses that a browser with a window was asked to open."""
    addresses: list[str] = []

    class Browser(webbrowser.BaseBrowser):
        def open(self, url: str, new: int = 0, autoraise: bool = True) -> bool:
            addresses.append(url)
            return True

    webbrowser.get.__module__  # noqa: B018 - loaded
    monkeypatch.setattr(webbrowser, "_tryorder", [])
    webbrowser.register("recorder", None, Browser("recorder"), preferred=True)
    monkeypatch.setenv("DISPLAY", ":99")
    return addresses


@pytest.fixture
def notebook() -> Iterator[Any]:
    """A shell as in a notebook; `outputs` is what it displays."""
    InteractiveShell.clear_instance()
    shell = InteractiveShell.instance()
    shell.kernel = object()
    from IPython.utils.capture import capture_output

    with capture_output(stdout=False, stderr=False) as captured:
        yield captured
    InteractiveShell.clear_instance()


def test_a_result_shows_failures_first_then_metrics_and_the_worst_rows() -> None:
    result = evaluate_support(0.4, "prompt-v1")
    text = " ".join(texts_of(result._repr_html_()).split())
    order = ["rows failed (ConnectionError", "judged answers fail", "Root causes", F1]
    order += ["Worst rows", "! failed", "The endpoint 'support-chat' answered 429", "result.show()"]
    positions = [text.index(part) for part in order]
    assert positions == sorted(positions)
    metric = result.summary[F1]
    assert f"{metric.n} of {metric.total} rows" in text


def test_only_significant_differences_are_green_or_red() -> None:
    many = {f"r{n}": "wrong" for n in range(20)}
    better = dict.fromkeys(many, "right")
    comparison = compare(result_of(**better), result_of(**many))
    page = comparison._repr_html_()
    assert '<span class="tag good">+1</span>' in page
    assert "0 worse, 20 better" in texts_of(page)
    unclear = compare(result_of(**{**many, "r0": "right"}), result_of(**many))._repr_html_()
    line = unclear[unclear.index(F1) :]
    assert re.search(r"<td[^>]*>\+0\.05</td>", line)


def test_a_row_shows_its_texts_ratings_and_documents() -> None:
    judge = ScriptedJudge(script=lambda messages: verdict("no", "because of <this>"))
    data = [
        {
            "request": "q",
            "response": "a",
            "expected_facts": ["one", "two"],
            "retrieved_context": [{"doc_uri": "u", "content": "c"}],
        }
    ]
    [row] = evaluate(data=data, judge=judge).rows
    text = texts_of(row._repr_html_())
    for part in ("✕ fails", "q", "one\ntwo", "because of <this>", "1 retrieved documents", "u"):
        assert part in text


def test_a_dataset_shows_questions_instead_of_messages() -> None:
    messages = [{"role": "user", "content": "Why?"}]
    text = texts_of(EvalDataset.load([{"request": {"messages": messages}}])._repr_html_())
    assert "Why?" in text
    assert "role" not in text


def test_texts_of_the_data_are_never_code_in_a_notebook() -> None:
    result = evaluate(data=hostile_rows())
    views = [result, compare(result, result), EvalDataset.load(hostile_rows()), *result.rows]
    for view in views:
        page = view._repr_html_()
        text = texts_of(page)
        assert not re.search("[\0-\x08\x0b-\x1f\x7f\u202e\u2066]", text)
        assert len(page) < 60_000
        page.encode()
    for (name, content), row in zip(HOSTILE.items(), result.rows, strict=True):
        shown = texts_of(row._repr_html_())
        if name in ("script", "end", "template", "link", "formula", "emoji"):
            assert as_stored(content) in shown, name
    assert "\\x1b[31mred" in texts_of(result.rows[list(HOSTILE).index("nul")]._repr_html_())


def test_show_opens_the_browser_and_prints_the_path(
    opened: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    result = result_of(a="right")
    path = result.show()
    assert path.name == f"{result.evaluation_id}.html"
    assert capsys.readouterr().out == f"Report: {path}\n"
    comparison = compare(result, result_of(a="wrong"), result_of(a="?"))
    second = comparison.show(tmp_path / "two.html")
    assert opened == [path.as_uri(), second.as_uri()]
    assert second.read_text(encoding="utf-8").count('id="page-') == 3


def test_show_without_a_window_prints_the_path(
    opened: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    path = result_of(a="right").show()
    assert capsys.readouterr().out == f"Report: {path}\n"
    assert opened == []


def test_show_in_a_notebook_displays_the_report(
    notebook: Any, opened: list[str], page: Any, tmp_path: Path
) -> None:
    result = result_of(a="right", b="wrong")
    result.show()
    [output] = notebook.outputs
    content = output.data["text/html"]
    assert content.startswith("<div><iframe")
    assert opened == []
    # The frame works by itself: links, state and keys stay in it.
    file = tmp_path / "notebook.html"
    file.write_text(f"<!doctype html><title>Notebook</title>{content}", encoding="utf-8")
    page.driver.get(file.as_uri())
    page.wait("return document.querySelector('iframe')")
    address = page.driver.current_url
    page.driver.switch_to.frame(0)
    page.wait("return document.documentElement.dataset.ready")
    assert page.text("#count") == "2"
    page.all(".rows .open")[0].click()
    page.wait("return document.querySelector('.request-page')")
    page.run("document.querySelector('.crumbs a').click()")
    page.wait("return document.querySelector('#table')")
    page.driver.switch_to.default_content()
    assert page.driver.current_url == address


def test_a_comparison_without_a_candidate_cannot_be_shown() -> None:
    with pytest.raises(errors.ConfigurationError, match="no candidate"):
        Comparison((), (), 0).show()


def test_the_output_of_a_cell_is_html_that_needs_no_trust() -> None:
    result = result_of(a="right")
    for view in (result, result.rows[0], EvalDataset.load([{"request": "q"}])):
        assert "http" not in html.unescape(view._repr_html_())
