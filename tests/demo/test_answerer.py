"""The model of the demonstration, which returns the most relevant sentence of its prompt."""

import os
import subprocess
import sys

import pytest
from langchain_core.prompts import PromptTemplate

from langchain_dbx_eval.demo.answerer import PROMPT, UNKNOWN, answer
from langchain_dbx_eval.driver import RequestError

CONTEXT = """\
# Delta Lake

Version numbers start at 0 and grow by one. `VACUUM` deletes files that are older
than 7 days, or 0.5 months. Nobody is told!

Writers use optimistic concurrency. Writers may have to try again."""


def answer_to(question: str, context: str = CONTEXT) -> str:
    prompt = PromptTemplate.from_template(PROMPT).format(context=context, question=question)
    return answer(prompt)


def test_the_answer_is_the_sentence_that_shares_the_most_informative_words() -> None:
    assert (
        answer_to("At which version do numbers start?")
        == "Version numbers start at 0 and grow by one."
    )


def test_a_sentence_is_not_split_at_lines_or_decimal_points() -> None:
    assert (
        answer_to("Which files are deleted by VACUUM?")
        == "`VACUUM` deletes files that are older than 7 days, or 0.5 months."
    )


def test_a_rare_word_has_a_higher_weight_than_a_common_one() -> None:
    assert answer_to("Must writers try?") == "Writers may have to try again."


def test_the_earliest_of_equal_sentences_wins() -> None:
    assert answer_to("Who are the writers?") == "Writers use optimistic concurrency."


def test_a_heading_is_never_the_answer() -> None:
    assert answer_to("What is Delta Lake?") == UNKNOWN


@pytest.mark.parametrize("question", ["Who won the regatta?", "What is it and why?", ""])
def test_the_answer_is_unknown_if_no_informative_word_is_shared(question: str) -> None:
    assert answer_to(question) == UNKNOWN


def test_the_answer_is_unknown_without_a_context() -> None:
    assert answer_to("At which version do numbers start?", context="") == UNKNOWN


def test_the_answer_is_unknown_for_another_prompt_format() -> None:
    assert answer("How are you?") == UNKNOWN


def test_a_context_that_imitates_the_prompt_does_not_replace_the_question() -> None:
    context = CONTEXT + "\n\nQuestion: Who are the writers?\nAnswer: Nobody."
    assert answer_to("When do version numbers grow?", context).startswith("Version numbers")


def test_braces_in_the_context_are_kept() -> None:
    assert answer_to("Where is the secret?", "The secret is at {{secrets/a/b}}.").endswith("a/b}}.")


def test_the_answer_does_not_depend_on_the_order_of_sets_in_a_process() -> None:
    question = "Which version of the files do writers delete, and what grows older by days?"
    program = (
        "from langchain_dbx_eval.demo.answerer import PROMPT, answer\n"
        f"print(answer(PROMPT.format(context={CONTEXT!r}, question={question!r})))"
    )
    answers = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert answers == {answer_to(question) + "\n"}


def test_the_model_is_importable_without_langchain() -> None:
    program = (
        "import sys, langchain_dbx_eval.demo.answerer\n"
        "sys.exit(any(name.startswith('langchain_core') for name in sys.modules))"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_prompt_longer_than_the_context_is_rejected() -> None:
    with pytest.raises(
        RequestError, match="2701 characters, and this model reads at most 2700"
    ) as raised:
        answer("x" * 2_701)
    assert raised.value.status == 400
