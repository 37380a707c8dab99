"""Code and settings change a fingerprint, secrets and addresses do not."""

from __future__ import annotations

import functools
import subprocess
import sys

import pytest
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda, RunnablePassthrough

from langchain_dbx_eval import ChatDatabricks
from langchain_dbx_eval.evaluation.journal.fingerprint import fingerprint
from langchain_dbx_eval.scoring import ExactMatch, PromptJudge, TokenF1


def chain(prompt="Say {x}", answer="yes", times=3):
    return (
        {"x": RunnablePassthrough(), "y": lambda text: text * times}
        | ChatPromptTemplate.from_template(prompt)
        | FakeListChatModel(responses=[answer])
        | StrOutputParser()
    )


def graph(answer):
    langgraph = pytest.importorskip("langgraph.graph", reason="langgraph is not installed")
    builder = langgraph.StateGraph(langgraph.MessagesState)
    builder.add_node("model", lambda state: {"messages": [answer]})
    builder.add_edge(langgraph.START, "model")
    return builder.compile()


def scaled(text, by):
    return text * by


def test_equal_chains_have_the_same_fingerprint():
    assert fingerprint(chain()) == fingerprint(chain())


def test_the_fingerprint_of_a_graph_is_that_of_its_nodes():
    assert fingerprint(graph("a")) == fingerprint(graph("a"))
    assert fingerprint(graph("a")) != fingerprint(graph("b"))


@pytest.mark.parametrize(
    "other",
    [
        chain(prompt="Tell {x}"),
        chain(answer="no"),
        chain(times=4),
        chain().bind(stop=["."]),
        chain() | RunnableLambda(str.upper),
    ],
    ids=["prompt", "model", "closure", "binding", "step"],
)
def test_a_change_of_the_answers_changes_the_fingerprint(other):
    assert fingerprint(other) != fingerprint(chain())


def test_the_settings_of_a_model_are_part_of_the_fingerprint_and_its_token_is_not():
    cold, warm = (ChatDatabricks(model="m", temperature=t) for t in (0.0, 1.0))
    with_token = ChatDatabricks(model="m", temperature=0.0, api_token="dapi-secret")

    assert fingerprint(cold) != fingerprint(warm)
    assert fingerprint(cold) == fingerprint(with_token)


def test_functions_differ_by_their_code_not_by_their_position():
    one = eval("lambda text: text + 'a'")
    same = eval("\n\n\nlambda text: text + 'a'")
    other = eval("lambda text: text + 'b'")

    assert fingerprint(one) == fingerprint(same) != fingerprint(other)


def test_the_arguments_of_a_partial_are_part_of_the_fingerprint():
    by_two, by_three = (functools.partial(scaled, by=n) for n in (2, 3))

    assert fingerprint(by_two) != fingerprint(by_three)


def test_the_settings_of_a_scorer_are_part_of_the_fingerprint():
    judges = [PromptJudge("tone", f"Is {{response}} {word}?") for word in ("kind", "kind", "rude")]

    assert fingerprint(ExactMatch()) != fingerprint(TokenF1())
    assert fingerprint(judges[0]) == fingerprint(judges[1]) != fingerprint(judges[2])


def test_an_object_that_contains_itself_has_a_fingerprint():
    loop: list[object] = ["a"]
    loop.append(loop)

    assert fingerprint(loop) == fingerprint(loop)


def test_a_fingerprint_is_the_same_in_every_process():
    code = (
        "from langchain_core.prompts import ChatPromptTemplate as P\n"
        "from langchain_dbx_eval.evaluation.journal.fingerprint import fingerprint\n"
        "print(fingerprint(P.from_template('{x}') | (lambda m: {str(m)}), {'b', 'a'}))"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout
        for _ in range(2)
    }
    assert len(printed) == 1
