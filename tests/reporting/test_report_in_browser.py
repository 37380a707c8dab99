"""The HTML report in a browser: what a person does with it, and what must not happen."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.reporting.conftest import Page
from tests.reporting.report_samples import HOSTILE, LARGE, as_stored, hostile_rows

pytestmark = [pytest.mark.xdist_group("browser"), pytest.mark.timeout(600)]
Report = Callable[[str], Path]

ESCAPE, ENTER = "\ue00c", "\ue007"


def lines(page: Page) -> list[str]:
    """Return the requests in view."""
    return page.texts(".rows .open")


def matched(page: Page) -> str:
    return page.text("#count")


def test_the_report_of_the_demo_opens_with_its_metrics_and_all_requests(
    page: Page, report: Report
) -> None:
    page.open(report("demo"))
    assert page.text("h1") == "Evaluation"
    assert "2 of 48 rows failed (RequestError 2)" in page.text(".headline")
    assert "document recall" in page.texts(".tile .label")
    assert all(re.match(r"0\.\d+ . ", text) for text in page.texts(".tile .detail"))
    assert matched(page) == "48"
    assert page.run("return document.querySelector('#table').getAttribute('aria-rowcount')") == "49"


def test_failures_come_first_and_a_filter_keeps_them_in_the_url(page: Page, report: Report) -> None:
    page.open(report("comparison"), "#sort=worst")
    assert page.text(".headline").startswith("3 of 36 rows failed (ConnectionError 3)")
    assert page.run("return document.querySelector('.rows .dot').getAttribute('aria-label')") == (
        "prompt-v1: Fail"
    )
    assert page.text(".rows .answer").startswith("ConnectionError")
    page.choose("#filter-verdict", "fail")
    assert matched(page) == "9 of 36"
    assert "verdict=fail" in page.driver.current_url
    page.choose("#filter-sort", "order")
    first = lines(page)[0]
    page.open(report("comparison"), "#" + page.driver.current_url.partition("#")[2])
    assert matched(page) == "9 of 36"
    assert lines(page)[0] == first


def test_judges_causes_errors_and_slices_filter(page: Page, report: Report) -> None:
    page.open(report("comparison"))
    for selector, option, expected in [
        ("#filter-score", "response/llm_judged/groundedness/rating:no", "5 of 36"),
        ("#filter-cause", "groundedness", "4 of 36"),
        ("#filter-error", "ConnectionError", "3 of 36"),
        ("#filter-slice", "plan:team", "12 of 36"),
    ]:
        page.choose(selector, option)
        assert matched(page) == expected, selector
        page.all("#clear")[0].click()
        assert matched(page) == "36"


def test_a_bar_of_a_chart_filters_the_table(page: Page, report: Report) -> None:
    page.open(report("demo"))
    page.all("[aria-label^='document recall, 0 ']")[0].click()
    assert re.fullmatch(r"\d+ of 48", matched(page))
    assert "score=" in page.driver.current_url
    page.press("c")
    assert matched(page) == "48"


def test_a_text_and_a_regular_expression_find_requests(page: Page, report: Report) -> None:
    page.open(report("comparison"))
    page.press("/")
    page.press("invoice")
    page.wait("return document.querySelector('#count').innerText === '12 of 36'")
    page.press(ESCAPE)
    page.wait("return document.querySelector('#count').innerText === '36'")
    page.open(report("comparison"), "#" + f"q={quote('^when .* (team|free) plan', safe='')}&re=1")
    page.wait("return document.querySelector('#count').innerText === '1 of 36'")
    page.open(report("comparison"), "#q=(&re=1")
    page.wait("return document.querySelector('#search').ariaInvalid")
    assert "Not a valid regular expression" in page.text("#search-status")


def test_the_keyboard_opens_a_request_and_comes_back_to_its_line(
    page: Page, report: Report
) -> None:
    page.open(report("comparison"))
    expected = lines(page)[1]
    page.press("j")
    page.press("j")
    page.press(ENTER)
    page.wait("return document.querySelector('.request-page')")
    assert page.text("#title") == expected
    page.press("j")
    page.wait("return document.querySelector('.crumbs').innerText.includes('3 of 36')")
    page.press("k")
    page.wait("return document.querySelector('.crumbs').innerText.includes('2 of 36')")
    page.press(ESCAPE)
    page.wait("return document.querySelector('#table')")
    assert page.wait("return document.activeElement.innerText") == expected


def test_a_link_opens_a_request_with_answers_ratings_documents_and_steps(
    page: Page, report: Report
) -> None:
    page.open(report("comparison"), "#row=billing-2-team")
    assert page.texts(".pane h3 span:first-child") == ["Expected", "prompt-v1", "prompt-v2"]
    assert page.texts(".pane del") == ["day of each month, ", "UTC"]
    assert "Root cause: groundedness" in page.text(".cause-card")
    assert "“As described in the manual” is not in the retrieved context." in page.text(".ratings")
    assert page.texts(".chunks .tag")[:2] == ["expected", "not expected"]
    assert page.all(".chunks a")[0].get_attribute("rel") == "noopener noreferrer"
    assert [text.split("\n")[0] for text in page.texts(".trace .name")] == [
        "chainsupport-assistant",
        "retriever_Search",
    ]
    page.all(".raw summary")[0].click()
    page.wait("return document.querySelector('.raw pre')")
    assert '"id": "billing-2-team"' in page.text(".raw pre")


def test_a_comparison_sorts_by_regression_and_shows_what_differs(
    page: Page, report: Report
) -> None:
    page.open(report("comparison"))
    assert page.texts(".rows .change")[0] == "✓ → ✕"
    page.choose("#filter-diff", "better")
    assert matched(page) == "20 of 36"
    page.choose("#filter-diff", "worse")
    assert matched(page) == "7 of 36"
    page.choose("#filter-diff", "any")
    assert int(matched(page).split()[0]) > 22
    page.all(".flips a, .card details summary")[0].click()
    assert page.texts(".flips .quiet")[0].startswith("now: ")
    page.open(report("comparison"), "#row=billing-2-team")
    before = len(page.all(".ratings > li"))
    page.all("#only-different")[0].click()
    page.wait(f"return document.querySelectorAll('.ratings > li').length < {before}")
    assert "safety" not in page.text(".ratings")


def test_only_significant_differences_of_metrics_are_green_or_red(
    page: Page, report: Report
) -> None:
    page.open(report("comparison"))
    script = """return Array.from(document.querySelectorAll("[aria-label=Differences] tbody tr"),
        line => [!!line.querySelector(".significant"),
            !!line.querySelector(".delta.better, .delta.worse")])"""
    found = page.run(script)
    assert len(found) > 5
    assert all(is_significant or not is_colored for is_significant, is_colored in found)
    tiles = "return document.querySelectorAll('.tile .delta.better, .tile .delta.worse').length"
    significant = sum(is_significant for is_significant, _ in found)
    assert page.run(tiles) <= significant < len(found)


def test_repetitions_are_one_line_that_opens_with_all_of_them(page: Page, report: Report) -> None:
    page.open(report("repeated"))
    assert matched(page) == "36"
    page.press("g")
    assert matched(page) == "72"
    page.press("g")
    page.open(report("repeated"), "#row=billing-2-team&rep=2")
    repetitions = page.all("[aria-label=Repetition] button")
    assert [one.get_attribute("aria-pressed") for one in repetitions] == ["false", "true"]
    repetitions[0].click()
    page.wait("return location.hash.includes('rep=1')")


def test_ten_thousand_rows_open_within_seconds_and_draw_only_those_in_view(
    page: Page, report: Report
) -> None:
    # 0.5 s on an idle machine; a page that decodes or draws all rows needs more than 10 s.
    assert page.open(report("large")) < 10
    assert matched(page) == f"{LARGE:,}"
    assert len(page.all(".rows .row")) < 60
    page.run("window.scrollTo(0, document.body.scrollHeight / 2)")
    page.wait("return Number(document.querySelector('.rows .row').ariaRowIndex) > 4000")
    assert len(page.all(".rows .row")) < 60
    page.run("document.querySelector('.rows .open').click()")
    page.wait("return document.querySelector('.pane')")
    page.open(report("large"), f"#q={quote('question 98?', safe='')}&row=")
    page.wait("return document.querySelector('#count').innerText === '1 of 10,000'")


def test_texts_of_the_data_are_never_code(page: Page, report: Report) -> None:
    page.open(report("hostile"))
    assert matched(page) == str(len(HOSTILE))
    for row in hostile_rows():
        page.open(report("hostile"), "#row=" + quote(row["request_id"].encode("utf-8", "replace")))
        if page.all("#title"):
            assert page.run("return document.querySelectorAll('main script, main img').length") == 0
        assert page.driver.title != "owned"
    assert page.run("return document.querySelectorAll('a[href^=javascript]').length") == 0


@pytest.mark.parametrize("name", ["script", "end", "template", "right-to-left", "nul", "long"])
def test_texts_are_shown_as_they_are(page: Page, report: Report, name: str) -> None:
    text = HOSTILE[name]
    key = as_stored(f"{name} {text[:60]}")
    page.open(report("hostile"), f"#row={quote(key, safe='')}")
    content = page.run("return document.querySelector('.pane .text').textContent")
    if name == "long":
        assert content.endswith("… show all 100,000 characters")
        page.all(".pane button.link")[0].click()
        content = page.run("return document.querySelector('.pane .text').textContent")
        assert len(content) == 100_000
    elif name == "nul":
        assert content == "before\ufffd<U+0000>after ␛[31mred␛[0m ␇bell ␡"
    else:
        assert content == text


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("fragment", ["", "#row=billing-2-team"])
def test_axe_finds_no_serious_violation(
    page: Page, report: Report, fragment: str, scheme: str
) -> None:
    page.emulate(scheme=scheme)
    page.open(report("comparison"), fragment)
    assert page.violations() == []


def test_a_phone_needs_no_horizontal_scrolling(page: Page, report: Report) -> None:
    page.emulate(width=390)
    for fragment in ("", "#row=billing-2-team"):
        page.open(report("comparison"), fragment)
        assert page.run("return document.documentElement.scrollWidth") == 390
    assert page.violations() == []


def test_the_printer_gets_the_lines_without_the_controls(page: Page, report: Report) -> None:
    page.open(report("demo"))
    page.emulate(media="print")
    page.run("window.dispatchEvent(new Event('beforeprint'))")
    assert len(page.all(".rows .row")) == 48
    assert page.run("return getComputedStyle(document.querySelector('.filters')).display") == "none"


def test_a_rating_is_kept_and_can_be_exported(page: Page, report: Report) -> None:
    page.open(report("demo"))
    page.press("j")
    page.press(ENTER)
    page.wait("return document.querySelector('.yours')")
    page.press("n")
    note = page.all("#note")[0]
    note.send_keys("Wrong document.")
    page.run("document.activeElement.blur()")
    page.press(ESCAPE)
    page.wait("return document.querySelector('#table')")
    assert page.text("button.export") == "Export 1 rating"
    page.run("URL.createObjectURL = (blob) => { window.exported = blob; return '#' }")
    page.all("button.export")[0].click()
    exported = page.driver.execute_async_script("exported.text().then(arguments[0])")
    assert '"value": "no"' in exported
    assert '"rationale": "Wrong document."' in exported
