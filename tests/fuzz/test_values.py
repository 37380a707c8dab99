"""Judge answers, names, journals, conditions and configuration: accepted, or one typed error."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from langchain_dbx_eval import ChatDatabricks, Databricks, DatabricksEmbeddings
from langchain_dbx_eval.datasets import EvalRecord
from langchain_dbx_eval.datasets.schema.table_name import TableName
from langchain_dbx_eval.errors import ConfigurationError, DatabricksError
from langchain_dbx_eval.evaluation.journal import codec
from langchain_dbx_eval.evaluation.journal.rows import Answer, RowKey
from langchain_dbx_eval.evaluation.tracking.metrics import legal_metric_names
from langchain_dbx_eval.reporting.gate.conditions import parse_condition
from langchain_dbx_eval.scoring import Outcome, RowScores, YesNo
from langchain_dbx_eval.scoring.judges.parsing import parse_text
from langchain_dbx_eval.scoring.judges.prompt import verdict_tags
from tests.fuzz.test_responses import FUZZ, JSON

NONCE = "0f1e2d"
VERDICT = '{"rating": "yes", "rationale": "it demands so"}'
SURROGATES = st.text(st.characters(), max_size=20)
ANSWER_PARTS = st.lists(
    st.sampled_from([VERDICT, "```", "```json\n", "<think>", "</think>", "'", "\n", "{", "}", "no"])
    | st.sampled_from([*verdict_tags("ffffff"), "Rating: yes", "<verdict>", "</verdict>"])
    | st.text(max_size=10),
    max_size=8,
)
CONDITION_PARTS = [
    *("correctness", "rows/failed", "p95(", ")", ">=", "<", "0.9", "1e999", "%", "@ lower"),
    *("baseline", "-", "+", "ms", "nan"),
]


@given(before=ANSWER_PARTS, after=ANSWER_PARTS)
@FUZZ
def test_a_verdict_that_is_quoted_is_never_read(before: list[str], after: list[str]) -> None:
    text = "".join([*before, " He wrote ", VERDICT, *after])
    assert parse_text(text, YesNo(), NONCE) is None


@given(before=ANSWER_PARTS, rating=JSON)
@FUZZ
def test_an_answer_of_a_judge_is_a_rating_of_its_scale_or_none(
    before: list[str], rating: Any
) -> None:
    start, end = verdict_tags(NONCE)
    block = f"{start}{json.dumps({'rating': rating})}{end}"
    verdict = parse_text("".join(before) + block, YesNo(), NONCE)
    assert verdict is None or verdict.value in ("yes", "no")


@given(names=st.lists(SURROGATES | st.text("./ _&%", max_size=300), max_size=6, unique=True))
@FUZZ
def test_any_names_of_metrics_are_legal_and_distinct(names: list[str]) -> None:
    from mlflow.utils.validation import _validate_metric_name

    legal = legal_metric_names(names)
    assert len(set(legal.values())) == len(names)
    for name in legal.values():
        _validate_metric_name(name)


@given(text=SURROGATES | st.lists(st.text("aÉ`. -", max_size=5), max_size=4).map(".".join))
@FUZZ
def test_a_table_name_is_parsed_back_or_refused(text: str) -> None:
    with suppress(ConfigurationError):
        name = TableName.parse(text)
        assert TableName.parse(str(name)) == name


@given(value=JSON | SURROGATES | st.binary() | st.dictionaries(st.integers() | st.none(), JSON))
@FUZZ
def test_a_journal_returns_what_it_returned_before(value: Any) -> None:
    answer = Answer(record=EvalRecord(request=value), outcome=Outcome(response=value))
    stored = codec.encode_answer(answer)
    stored.encode()
    row = codec.decode_row(RowKey(0), stored, RowScores(), None)
    again = codec.encode_answer(row)
    # As text, since NaN is not equal to itself.
    assert again == codec.encode_answer(codec.decode_row(RowKey(0), again, RowScores(), None))


@given(text=st.text(max_size=40) | st.lists(st.sampled_from(CONDITION_PARTS)).map(" ".join))
@FUZZ
def test_a_condition_is_parsed_or_refused(text: str) -> None:
    with suppress(ConfigurationError):
        parse_condition(text)


FIELDS = [
    *("host", "api_token", "base_url", "cluster_driver_port", "cluster_id", "org_id", "path"),
    *("driver_api_key", "timeout", "max_retries", "max_response_bytes", "route_optimized"),
    *("extra_params", "temperature", "n", "stop", "transform_input_fn", "unknown"),
]


@pytest.mark.parametrize(
    ("component", "target"),
    [(Databricks, "endpoint_name"), (ChatDatabricks, "model"), (DatabricksEmbeddings, "endpoint")],
)
@given(values=st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=4), name=JSON)
@FUZZ
def test_any_arguments_make_a_component_or_one_typed_error(
    component: Any, target: str, values: dict[str, Any], name: Any
) -> None:
    with suppress(DatabricksError, ValidationError):
        repr(component(**{target: name, **values}))
