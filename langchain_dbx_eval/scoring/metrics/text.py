"""Scores of the answer's text, against ``expected_response``; a row without one says nothing."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.embeddings import Embeddings

from langchain_dbx_eval._internal.extras import require
from langchain_dbx_eval.scoring.assessments import Assessment
from langchain_dbx_eval.scoring.context import ScoringContext

__all__ = ["Bleu", "ChrF", "EmbeddingSimilarity", "ExactMatch", "RougeL", "TokenF1"]

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True)
class ExactMatch:
    """Whether the answer is the expected one, but for case, punctuation, articles and spaces.

    The "exact match" of Rajpurkar et al., "SQuAD: 100,000+ Questions for Machine Comprehension of
    Text" (2016), section 6.1.
    """

    name: str = "exact_match"
    column: str = "response/ground_truth/exact_match"

    def score(self, context: ScoringContext) -> Sequence[Assessment]:
        """Assess one row: 1 or 0."""
        if (texts := _texts(context)) is None:
            return []
        same = _words(texts[0]) == _words(texts[1])
        return [Assessment(name=self.name, column=self.column, value=float(same))]


@dataclass(frozen=True)
class TokenF1:
    """How many words the answer shares with the expected one.

    The harmonic mean of precision and recall over the two bags of words: the "F1 score" of
    Rajpurkar et al. (2016), section 6.1, with its normalisation.
    """

    name: str = "token_f1"
    column: str = "response/ground_truth/token_f1"

    def score(self, context: ScoringContext) -> Sequence[Assessment]:
        """Assess one row: a number from 0 to 1."""
        if (texts := _texts(context)) is None:
            return []
        value = _f1(_words(texts[0]), _words(texts[1]))
        return [Assessment(name=self.name, column=self.column, value=value)]


@dataclass(frozen=True)
class RougeL:
    """How long a sequence of words the answer and the expected one have in common, in their order.

    The F-measure of the longest common subsequence (C.-Y. Lin, "ROUGE: A Package for Automatic
    Evaluation of Summaries", 2004, section 3), by Google's rouge-score. Its own tokenizer drops all
    that is not ASCII; here a word is any run of letters and digits, which on ASCII is the same.
    """

    name: str = "rouge_l"
    column: str = "response/ground_truth/rouge_l"

    def score(self, context: ScoringContext) -> Sequence[Assessment]:
        """Assess one row: a number from 0 to 1."""
        if (texts := _texts(context)) is None:
            return []
        rouge = require("rouge_score.rouge_scorer", extra="scorers")
        scores = rouge.RougeScorer(["rougeL"], tokenizer=_UnicodeWords()).score(*texts)
        value = float(scores["rougeL"].fmeasure)
        return [Assessment(name=self.name, column=self.column, value=value)]


@dataclass(frozen=True)
class Bleu:
    """How many runs of one to four words of the answer are in the expected one.

    Sentence BLEU with effective order (K. Papineni et al., "BLEU: a Method for Automatic Evaluation
    of Machine Translation", 2002), by sacrebleu, divided by 100. For a language without spaces give
    `tokenize` ("zh", "ja-mecab", "ko-mecab", "char"), or use `ChrF`.
    """

    tokenize: str = "13a"
    name: str = "bleu"
    column: str = "response/ground_truth/bleu"

    def score(self, context: ScoringContext) -> Sequence[Assessment]:
        """Assess one row: a number from 0 to 1."""
        if (texts := _texts(context)) is None:
            return []
        sacrebleu = require("sacrebleu", extra="scorers")
        bleu = sacrebleu.BLEU(effective_order=True, tokenize=self.tokenize)
        value = bleu.sentence_score(texts[1], [texts[0]]).score / 100
        return [Assessment(name=self.name, column=self.column, value=value)]


@dataclass(frozen=True)
class ChrF:
    """How many runs of one to six characters the answer and the expected one share.

    The character F2 of M. Popović, "chrF: character n-gram F-score for automatic MT evaluation"
    (2015), by sacrebleu, divided by 100. It needs no words, so it suits every language.
    """

    name: str = "chrf"
    column: str = "response/ground_truth/chrf"

    def score(self, context: ScoringContext) -> Sequence[Assessment]:
        """Assess one row: a number from 0 to 1."""
        if (texts := _texts(context)) is None:
            return []
        sacrebleu = require("sacrebleu", extra="scorers")
        value = sacrebleu.CHRF().sentence_score(texts[1], [texts[0]]).score / 100
        return [Assessment(name=self.name, column=self.column, value=value)]


@dataclass(frozen=True)
class EmbeddingSimilarity:
    """How close the answer and the expected one are in the space of an embedding model.

    The cosine of the angle between their vectors.

    Attributes:
        embeddings: Any LangChain embeddings, such as `DatabricksEmbeddings`.
    """

    embeddings: Embeddings
    name: str = "embedding_similarity"
    column: str = "response/ground_truth/embedding_similarity"

    async def ascore(self, context: ScoringContext) -> Sequence[Assessment]:
        """Assess one row: a number from -1 to 1."""
        if (texts := _texts(context)) is None:
            return []
        expected, answer = await self.embeddings.aembed_documents(list(texts))
        value = _cosine(expected, answer)
        return [Assessment(name=self.name, column=self.column, value=value)]


class _UnicodeWords:
    """A tokenizer in the form that rouge-score asks for."""

    def tokenize(self, text: str) -> list[str]:
        """The words of a text, in lower case."""
        return _WORD.findall(text.lower())


def _texts(context: ScoringContext) -> tuple[str, str] | None:
    """The expected answer and the answer, where a row has both."""
    expected, answer = context.record.expected_response, context.response_text
    return None if expected is None or answer is None else (expected, answer)


def _f1(expected: list[str], answer: list[str]) -> float:
    if not expected or not answer:
        return float(expected == answer)
    shared = sum((Counter(expected) & Counter(answer)).values())
    return 2 * shared / (len(expected) + len(answer))


def _words(text: str) -> list[str]:
    return _ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split()


def _cosine(one: Sequence[float], other: Sequence[float]) -> float:
    def length(vector: Sequence[float]) -> Any:
        return sum(x * x for x in vector) ** 0.5

    product = length(one) * length(other)
    # A vector of zeros points nowhere, so nothing is close to it.
    return sum(x * y for x, y in zip(one, other, strict=True)) / product if product else 0.0
