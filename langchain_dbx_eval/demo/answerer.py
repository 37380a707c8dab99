"""The model of the demonstration: it returns the most relevant sentence of its prompt.

It replaces a language model behind the driver server, so its only input is the prompt::

    langchain-dbx-eval serve langchain_dbx_eval.demo.answerer:answer --port 7777
"""

from __future__ import annotations

import math
import re
from collections import Counter

__all__ = ["MAX_PROMPT", "PROMPT", "UNKNOWN", "answer", "words"]

PROMPT = """\
Answer the question with one sentence of the context. If none answers it, say that you don't know.

Context:
{context}

Question: {question}
Answer:"""

UNKNOWN = "I don't know."
MAX_PROMPT = 2_700

# The context is matched greedily, because a page may contain the word "Question:".
_FILLED_PROMPT = re.compile(
    re.escape(PROMPT)
    .replace(re.escape("{context}"), "(?P<context>.*)")
    .replace(re.escape("{question}"), "(?P<question>.*)")
    + r"\s*",
    re.DOTALL,
)
# Words without a subject of their own, ignored in the comparison with a question.
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
    """Answer a question from the context in a prompt.

    Args:
        prompt: `PROMPT` with context and question.

    Returns:
        The sentence of the context with the highest sum of the inverse document frequencies (BM25)
        of the words that it shares with the question, the first of equals; `UNKNOWN` if no
        sentence shares a word, or the prompt has another format.

    Raises:
        RequestError: The prompt has more than `MAX_PROMPT` characters, the context of this model.
    """
    if len(prompt) > MAX_PROMPT:
        from langchain_dbx_eval.driver import RequestError

        msg = f"The prompt has {len(prompt)} characters, and this model reads at most {MAX_PROMPT}."
        raise RequestError(400, "INVALID_PARAMETER_VALUE", msg)
    match = _FILLED_PROMPT.fullmatch(prompt)
    return UNKNOWN if match is None else _best_sentence(match["context"], match["question"])


def _best_sentence(context: str, question: str) -> str:
    sentences = _sentences(context)
    vocabularies = [words(sentence) for sentence in sentences]
    frequency = Counter(word for vocabulary in vocabularies for word in vocabulary)
    question_words = words(question)

    def idf(word: str) -> float:
        # BM25's form of idf, which is above zero even for a word that is in every sentence.
        return math.log(1 + (len(sentences) - frequency[word] + 0.5) / (frequency[word] + 0.5))

    # Sorted, because the sum of floats depends on the order, and the order of a set on the process.
    scores = [sum(map(idf, sorted(question_words & found))) for found in vocabularies]
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


def words(text: str) -> set[str]:
    """Return the words of a text in lower case, without those that have no subject."""
    return set(re.findall(r"\w+", text.lower())) - _FUNCTION_WORDS
