"""Metrics of the response's text, compared with ``expected_response``."""

from __future__ import annotations

import math
import re
import string
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from langchain_core.embeddings import Embeddings

from langchain_dbx_eval._internal.imports import require
from langchain_dbx_eval.scoring.assessments import Assessment, ScorerOutput
from langchain_dbx_eval.scoring.context import ScoringContext

__all__ = ["Bleu", "ChrF", "EmbeddingSimilarity", "ExactMatch", "RougeL", "TokenF1"]

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_WORD = re.compile(r"[^\W_]+")


class TextMetric(ABC):
    """A number from 0 to 1 for each row with an ``expected_response``; 0 for an empty response."""

    name: str
    column: str

    def score(self, context: ScoringContext) -> ScorerOutput:
        """See `Scorer.score`."""
        expected, answer = context.record.expected_response, context.response_text
        if expected is None or answer is None:
            return []
        # No answer has no score but 0, unless none is expected.
        value = self._value(expected, answer) if answer.strip() else float(not expected.strip())
        return [Assessment(name=self.name, column=self.column, value=value)]

    @abstractmethod
    def _value(self, expected: str, answer: str) -> float:
        """Return the value for one row, from 0 to 1."""


@dataclass(frozen=True)
class ExactMatch(TextMetric):
    """1 if the texts are equal except for case, punctuation, articles and white space, else 0.

    The "exact match" of Rajpurkar et al., "SQuAD: 100,000+ Questions for Machine Comprehension of
    Text" (2016), section 6.1.
    """

    name: str = "exact_match"
    column: str = "response/ground_truth/exact_match"

    def _value(self, expected: str, answer: str) -> float:
        return float(_words(expected) == _words(answer))


@dataclass(frozen=True)
class TokenF1(TextMetric):
    """Harmonic mean of precision and recall over the two bags of words.

    The "F1 score" of Rajpurkar et al. (2016), section 6.1, with its normalization.
    """

    name: str = "token_f1"
    column: str = "response/ground_truth/token_f1"

    def _value(self, expected: str, answer: str) -> float:
        words, answer_words = _words(expected), _words(answer)
        if not words or not answer_words:
            return float(words == answer_words)
        shared = sum((Counter(words) & Counter(answer_words)).values())
        return 2 * shared / (len(words) + len(answer_words))


@dataclass(frozen=True)
class RougeL(TextMetric):
    """F-measure of the longest common subsequence of words.

    C.-Y. Lin, "ROUGE: A Package for Automatic Evaluation of Summaries" (2004), section 3, computed
    by Google's rouge-score. The tokenizer of rouge-score drops all characters outside ASCII; here a
    word is any run of letters and digits, which is the same for ASCII.
    """

    name: str = "rouge_l"
    column: str = "response/ground_truth/rouge_l"

    def _value(self, expected: str, answer: str) -> float:
        rouge = require("rouge_score.rouge_scorer", extra="scorers")
        scores = rouge.RougeScorer(["rougeL"], tokenizer=_UnicodeTokenizer())
        return float(scores.score(expected, answer)["rougeL"].fmeasure)


@dataclass(frozen=True)
class Bleu(TextMetric):
    """Sentence BLEU with effective order, divided by 100.

    K. Papineni et al., "BLEU: a Method for Automatic Evaluation of Machine Translation" (2002),
    computed by sacrebleu.

    Attributes:
        tokenize: Tokenizer of sacrebleu. Languages without spaces need "zh", "ja-mecab",
            "ko-mecab" or "char"; or use `ChrF`.
    """

    tokenize: str = "13a"
    name: str = "bleu"
    column: str = "response/ground_truth/bleu"

    def _value(self, expected: str, answer: str) -> float:
        sacrebleu = require("sacrebleu", extra="scorers")
        bleu = sacrebleu.BLEU(effective_order=True, tokenize=self.tokenize)
        return float(bleu.sentence_score(answer, [expected]).score / 100)


@dataclass(frozen=True)
class ChrF(TextMetric):
    """Character n-gram F2 score for n from 1 to 6, divided by 100; suitable for every language.

    M. Popović, "chrF: character n-gram F-score for automatic MT evaluation" (2015), computed by
    sacrebleu.
    """

    name: str = "chrf"
    column: str = "response/ground_truth/chrf"

    def _value(self, expected: str, answer: str) -> float:
        sacrebleu = require("sacrebleu", extra="scorers")
        return float(sacrebleu.CHRF().sentence_score(answer, [expected]).score / 100)


@dataclass(frozen=True)
class EmbeddingSimilarity:
    """Cosine similarity of the embeddings of the two texts, from -1 to 1.

    Attributes:
        embeddings: Any LangChain embeddings, such as `DatabricksEmbeddings`.
    """

    embeddings: Embeddings
    name: str = "embedding_similarity"
    column: str = "response/ground_truth/embedding_similarity"

    async def score(self, context: ScoringContext) -> ScorerOutput:
        """See `Scorer.score`."""
        expected, answer = context.record.expected_response, context.response_text
        if expected is None or answer is None:
            return []
        value = float(not expected.strip())
        if answer.strip():
            value = _cosine(*await self.embeddings.aembed_documents([expected, answer]))
        return [Assessment(name=self.name, column=self.column, value=value)]


class _UnicodeTokenizer:
    """Tokenizer with the interface of rouge-score."""

    def tokenize(self, text: str) -> list[str]:
        return _WORD.findall(text.lower())


def _words(text: str) -> list[str]:
    return _ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split()


def _cosine(one: Sequence[float], other: Sequence[float]) -> float:
    norms = math.hypot(*one) * math.hypot(*other)
    # A zero vector has no direction.
    return sum(x * y for x, y in zip(one, other, strict=True)) / norms if norms else 0.0
