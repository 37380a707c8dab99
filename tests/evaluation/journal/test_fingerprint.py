"""Whether a chain is still the same: code and settings count, secrets and addresses do not."""

from __future__ import annotations

import functools
import subprocess
import sys

import pytest
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda, RunnablePassthrough
from langgraph.graph import START, MessagesState, StateGraph

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
    builder = StateGraph(MessagesState)
    builder.add_node("model", lambda state: {"messages": [answer]})
    builder.add_edge(START, "model")
    return builder.compile()


def scaled(text, by):
    return text * by


def test_two_chains_of_the_same_make_are_one():
    assert fingerprint(chain()) == fingerprint(chain())
    assert fingerprint(graph("a")) == fingerprint(graph("a"))


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
def test_what_changes_the_answers_changes_it(other):
    assert fingerprint(other) != fingerprint(chain())


def test_a_graphs_nodes_count():
    assert fingerprint(graph("a")) != fingerprint(graph("b"))


def test_a_models_settings_count_and_its_token_does_not():
    cold, warm = (ChatDatabricks(model="m", temperature=t) for t in (0.0, 1.0))
    with_token = ChatDatabricks(model="m", temperature=0.0, api_token="dapi-secret")

    assert fingerprint(cold) != fingerprint(warm)
    assert fingerprint(cold) == fingerprint(with_token)


def test_functions_differ_by_what_they_do_not_by_where_they_stand():
    one = eval("lambda text: text + 'a'")
    same = eval("\n\n\nlambda text: text + 'a'")
    other = eval("lambda text: text + 'b'")

    assert fingerprint(one) == fingerprint(same) != fingerprint(other)


def test_a_partials_arguments_count():
    by_two, by_three = (functools.partial(scaled, by=n) for n in (2, 3))

    assert fingerprint(by_two) != fingerprint(by_three)


def test_a_scorers_settings_count():
    judges = [PromptJudge("tone", f"Is {{response}} {word}?") for word in ("kind", "kind", "rude")]

    assert fingerprint(ExactMatch()) != fingerprint(TokenF1())
    assert fingerprint(judges[0]) == fingerprint(judges[1]) != fingerprint(judges[2])


def test_a_chain_that_holds_itself_has_one_too():
    loop: list[object] = ["a"]
    loop.append(loop)

    assert fingerprint(loop) == fingerprint(loop)


def test_it_is_the_same_in_another_process():
    code = (
        "from langchain_core.prompts import ChatPromptTemplate as P\n"
        "from langchain_dbx_eval.evaluation.journal.fingerprint import fingerprint\n"
        "print(fingerprint(P.from_template('{x}') | (lambda m: {str(m)}), {'b', 'a'}))"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout
        for _ in range(2)
    }
    assert len(said) == 1
