from __future__ import annotations

import pytest

from langchain_dbx_eval.driver.runtime.stop_strings import truncate_at_stop


@pytest.mark.parametrize(
    ("text", "stops", "expected"),
    [
        ("The answer is banana\nHuman: why?", ["\nHuman:"], "The answer is banana"),
        ("The answer is banana\nHuman:", ["\nHuman:"], "The answer is banana"),
        ("Total: 100.00", ["0"], "Total: 1"),
        ("Total: 100.00", ["00.00"], "Total: 1"),
        ("  spaces stay  END", ["END"], "  spaces stay  "),
        ("nothing to cut", ["\n"], "nothing to cut"),
        ("nothing to cut", [], "nothing to cut"),
        ("stop at once", ["stop"], ""),
        ("", ["."], ""),
        ("Case Matters. case", ["case"], "Case Matters. "),
        ("가나다.라", ["."], "가나다"),
    ],
)
def test_a_completion_ends_before_its_stop_string(
    text: str, stops: list[str], expected: str
) -> None:
    assert truncate_at_stop(text, stops) == expected


@pytest.mark.parametrize("stops", [["abcde", "cd"], ["cd", "abcde"]])
def test_the_stop_string_that_is_complete_first_applies(stops: list[str]) -> None:
    assert truncate_at_stop("xabcdex", stops) == "xab"


@pytest.mark.parametrize("stops", [["bc", "abc"], ["abc", "bc"]])
def test_of_two_stop_strings_with_the_same_end_the_longer_one_applies(stops: list[str]) -> None:
    assert truncate_at_stop("xabcx", stops) == "x"
