"""The demonstration's answering model: it answers with the best sentence of its context.

It stands in for a language model behind the driver server, so it knows nothing but its prompt::

    langchain-dbx-eval serve langchain_dbx_eval.demo.answerer:answer --port 7777
"""

from __future__ import annotations

import math
import re
from collections import Counter

__all__ = ["PROMPT", "UNKNOWN", "answer"]

PROMPT = """\
Answer the question with one sentence of the context. If none answers it, say that you don't know.

Context:
{context}

Question: {question}
Answer:"""

UNKNOWN = "I don't know."

# Greedy for the context: a page that itself holds the word "Question:" must not end it early.
_FILLED_PROMPT = re.compile(
    re.escape(PROMPT)
    .replace(re.escape("{context}"), "(?P<context>.*)")
    .replace(re.escape("{question}"), "(?P<question>.*)")
    + r"\s*",
    re.DOTALL,
)
# What they share with a question says nothing about its subject.
_FUNCTION_WORDS = frozenset(
    re.findall(
        r"\w+",
        """
        a an and any are as at be been being but by can could did do does for from had has have
        how i if in into is it its may me must my no not of on one or should so than that the
        their them then there these they this those to under was we were what when where which
        who why will with would you your
        """,
    )
)
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z`\"])")


def answer(prompt: str) -> str:
    """Answer a question from the context that is given in the prompt.

    Args:
        prompt: `PROMPT` with its gaps filled.

    Returns:
        The sentence of the context that shares the most informative words with the question, the
        earliest of equals; `UNKNOWN` when no sentence shares any, or the prompt is another one.
    """
    filled = _FILLED_PROMPT.fullmatch(prompt)
    return UNKNOWN if filled is None else _best_sentence(filled["context"], filled["question"])


def _best_sentence(context: str, question: str) -> str:
    sentences = _sentences(context)
    vocabularies = [_words(sentence) for sentence in sentences]
    frequency = Counter(word for vocabulary in vocabularies for word in vocabulary)
    asked = _words(question)

    def information(word: str) -> float:
        # BM25's form of idf: it stays above zero for a word that is in every sentence.
        return math.log(1 + (len(sentences) - frequency[word] + 0.5) / (frequency[word] + 0.5))

    # Sorted, because the sum of floats depends on its order, and that of a set on the process.
    scores = [sum(map(information, sorted(asked & words))) for words in vocabularies]
    best = max(scores, default=0.0)
    return sentences[scores.index(best)] if best > 0 else UNKNOWN


def _sentences(context: str) -> list[str]:
    paragraphs = [" ".join(block.split()) for block in re.split(r"\n\s*\n", context)]
    return [
        sentence
        for paragraph in paragraphs
        if paragraph and not paragraph.startswith("#")
        for sentence in _SENTENCE_END.split(paragraph)
    ]


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower())) - _FUNCTION_WORDS
