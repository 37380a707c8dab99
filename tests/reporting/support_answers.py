"""Two evaluations of a support assistant, with everything that a report can show."""

from __future__ import annotations

import random
import time
from typing import Any

from langchain_core.documents import Document
from langchain_core.messages import BaseMessage
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable, RunnableLambda

from langchain_dbx_eval import EvalDataset, EvaluationResult, evaluate
from langchain_dbx_eval.errors import NotFoundError
from tests.scoring.scripted_judge import ScriptedJudge, block, requested_judge, verdict

DATASET = "main.support.questions"
TOPICS = {
    "billing": [
        (
            "How do I change the card that pays my invoices?",
            "Open Account > Billing > Payment method and choose Replace card.",
            "billing/payment-method.md",
        ),
        (
            "When is an invoice created?",
            "Invoices are created on the first day of each month, in UTC.",
            "billing/invoices.md",
        ),
        (
            "Can I get a refund for an unused month?",
            "Unused months are refunded within 14 days of the invoice.",
            "billing/refunds.md",
        ),
        (
            "Which currencies can I pay in?",
            "You can pay in euros, US dollars and Japanese yen.",
            "billing/currencies.md",
        ),
    ],
    "clusters": [
        (
            "Why does my cluster stop at night?",
            "A cluster stops after 60 minutes without a command. ",
            "clusters/auto-termination.md",
        ),
        (
            "How many workers may a cluster have?",
            "A cluster may have up to 100 workers.",
            "clusters/size.md",
        ),
        (
            "What is a driver node?",
            "The driver node runs the main program and coordinates the workers.",
            "clusters/driver.md",
        ),
        (
            "How do I install a library on all nodes?",
            "Add it under Libraries; each node installs it at its start.",
            "clusters/libraries.md",
        ),
    ],
    "security": [
        (
            "How do I rotate a personal access token?",
            "Create a new token under Developer settings, then revoke the old one.",
            "security/tokens.md",
        ),
        (
            "Are my files encrypted?",
            "Files are encrypted at rest with AES-256 and in transit with TLS 1.2 or newer.",
            "security/encryption.md",
        ),
        (
            "Who can read my notebooks?",
            "Only you and the workspace admins, until you share them.",
            "security/permissions.md",
        ),
        (
            "Wie aktiviere ich die Anmeldung mit SSO?",
            "SSO wird unter Einstellungen > Identität mit SAML oder OIDC aktiviert.",
            "security/sso.md",
        ),
    ],
}


def records() -> list[dict[str, Any]]:
    """Return 36 records: three customers ask each question."""
    rows = []
    for plan in ("free", "team", "enterprise"):
        for topic, questions in TOPICS.items():
            for number, (text, expected, uri) in enumerate(questions):
                question = text if plan == "free" else f"{text} We have the {plan} plan."
                row: dict[str, Any] = {
                    "request_id": f"{topic}-{number + 1}-{plan}",
                    "request": {"messages": [{"role": "user", "content": question}]},
                    "expected_response": expected,
                    "expected_retrieved_context": [{"doc_uri": uri}],
                    "topic": topic,
                    "plan": plan,
                }
                if plan == "enterprise":
                    earlier = [
                        {"role": "system", "content": "You answer questions about the product."},
                        {"role": "user", "content": "Hello, I have a question."},
                        {"role": "assistant", "content": "Of course. What is it?"},
                    ]
                    row["request"]["messages"] = earlier + row["request"]["messages"]
                if number == 0:
                    row["expected_facts"] = [
                        part.strip() for part in expected.rstrip(".").split(",")
                    ]
                    del row["expected_response"]
                rows.append(row)
    return rows


class _Search(BaseRetriever):
    """Finds the document of a question; the weaker one misses some."""

    quality: float

    def _get_relevant_documents(self, query: str, **kwargs: Any) -> list[Document]:
        chance = random.Random(f"search {query}").random()
        every = [answer for questions in TOPICS.values() for answer in questions]
        own = [one for one in every if query.startswith(one[0])]
        others = random.Random(query).sample([one for one in every if one not in own], 3)
        found = (own if chance < self.quality else []) + others
        return [
            Document(
                page_content=f"# {uri.partition('/')[2].removesuffix('.md').title()}\n{text}",
                metadata={"doc_uri": f"https://docs.example.com/{uri}" if number else uri},
            )
            for number, (_, text, uri) in enumerate(found)
        ]


def chain(quality: float) -> Runnable[Any, str]:
    """Return a chain that searches and answers; a lower quality answers worse."""
    search = _Search(quality=quality)

    def answer(inputs: dict[str, Any]) -> str:
        question = inputs["messages"][-1]["content"]
        luck = random.Random(f"{question} {len(inputs['messages'])} {quality}")
        documents = search.invoke(question)
        time.sleep(0.002 + luck.random() ** 3 * 0.02)
        if luck.random() < 0.3 * (1 - quality):
            msg = "The endpoint 'support-chat' answered 429: 60 requests per minute are exceeded."
            raise ConnectionError(msg)
        text = documents[0].page_content.split("\n", 1)[1]
        if luck.random() < 0.03:
            return ""
        if luck.random() > quality:
            words = text.split()
            return " ".join(
                ["In general,", *words[: len(words) // 2], "as described in the manual."]
            )
        return text if luck.random() < 0.5 else f"{text} Write to support if this does not help."

    return RunnableLambda(answer, name="support-assistant")


def _judge(messages: list[BaseMessage]) -> str:
    name = requested_judge(messages)
    text = str(messages[1].content)
    if name in ("correctness", "context_sufficiency"):
        answer = block(messages, "response" if name == "correctness" else "retrieved_context")
        known = answer.lower()
        expected = text.split("<expected_")[1].split("\n", 1)[1].split("\n</")[0]
        found = [word for word in expected.lower().split() if word.strip(".,;") in known]
        passed = len(found) > 0.8 * len(expected.split())
        reason = "states what is expected" if passed else "leaves out a part of what is expected"
        return verdict(
            "yes" if passed else "no",
            f"The {'response' if name == 'correctness' else 'context'} {reason}.",
        )
    if name == "groundedness" and "in general" in text.lower():
        return verdict("no", "“As described in the manual” is not in the retrieved context.")
    if name == "chunk_relevance":
        return verdict("yes" if "first" in text else "no", "Same topic only.")
    return verdict("yes", "Nothing in the response speaks against it.")


def evaluate_support(quality: float, name: str, **options: Any) -> EvaluationResult:
    """Evaluate the chain of a quality between 0 and 1."""
    judge = ScriptedJudge(script=_judge)
    try:
        dataset = EvalDataset.load(DATASET)
    except NotFoundError:
        dataset = EvalDataset.create(DATASET, records())
    return evaluate(chain(quality), dataset, judge=judge, run_name=name, **options)
