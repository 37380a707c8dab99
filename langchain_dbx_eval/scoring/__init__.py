"""Record in, assessments out.

- `contract`: the names of Agent Evaluation: judges, columns, metrics.
- `context`: the one thing that a scorer is given; `answers`: its texts.
- `assessments`: what a scorer says.
- `retrieval_scores`, `text_scores`, `format_scores`: scorers that compute.
- `judges`: the built-in judges; `judge_texts`: what they ask; `material`: what they are shown.
- `backends`: who answers a judge: `chat_judge` (any LangChain chat model) or `mlflow_judge`;
  `judging` asks no question twice, `judge_cache` keeps the answers on disk.
- `prompts` and `scales`: a question, and what may be answered; `reading`: reads the answer.
- `custom`: a user's own judges and scorers; `mlflow_scorers`: those of ``mlflow.genai``.
- `selection`: who scores a run.
- `rows`: scores one row; `verdict`: its overall assessment.
- `aggregates`: the scores of many rows as the metrics of a run.
"""

from langchain_dbx_eval.scoring.assessments import Assessment, JudgeUsage, RowScores, Skip
from langchain_dbx_eval.scoring.context import (
    AnyScorer,
    AsyncScorer,
    Outcome,
    Scorer,
    ScoringContext,
)
from langchain_dbx_eval.scoring.custom import PromptJudge, judge, scorer
from langchain_dbx_eval.scoring.judges.scales import Categorical, Numeric, YesNo
from langchain_dbx_eval.scoring.metrics.format import RegexMatch, ValidJson
from langchain_dbx_eval.scoring.metrics.retrieval import (
    DocumentPrecision,
    DocumentRecall,
    ReciprocalRank,
    RetrievalNdcg,
)
from langchain_dbx_eval.scoring.metrics.text import (
    Bleu,
    ChrF,
    EmbeddingSimilarity,
    ExactMatch,
    RougeL,
    TokenF1,
)
from langchain_dbx_eval.scoring.mlflow.scorers import as_mlflow_scorer
from langchain_dbx_eval.scoring.score_row import ascore, score
from langchain_dbx_eval.scoring.selection import built_in_judges, select_scorers

__all__ = [
    "DEFAULT_SCORERS",
    "AnyScorer",
    "Assessment",
    "AsyncScorer",
    "Bleu",
    "Categorical",
    "ChrF",
    "DocumentPrecision",
    "DocumentRecall",
    "EmbeddingSimilarity",
    "ExactMatch",
    "JudgeUsage",
    "Numeric",
    "Outcome",
    "PromptJudge",
    "ReciprocalRank",
    "RegexMatch",
    "RetrievalNdcg",
    "RougeL",
    "RowScores",
    "Scorer",
    "ScoringContext",
    "Skip",
    "TokenF1",
    "ValidJson",
    "YesNo",
    "as_mlflow_scorer",
    "ascore",
    "built_in_judges",
    "judge",
    "score",
    "scorer",
    "select_scorers",
]

DEFAULT_SCORERS: tuple[AnyScorer, ...] = (DocumentRecall(), ExactMatch(), TokenF1())
"""What scores a run where nothing else is asked for."""
