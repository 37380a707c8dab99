"""Hypothesis strategies for records that JSON can represent."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from langchain_dbx_eval import EvalRecord
from langchain_dbx_eval.datasets.schema.row_codec import encode

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
PRESENT = PLAIN.filter(lambda value: value is not None)


@st.composite
def records(draw: Any) -> EvalRecord:
    row: dict[str, Any] = {
        "request": draw(PRESENT),
        "response": draw(PLAIN),
        "expected_response": draw(st.none() | TEXT),
        "expected_facts": draw(st.none() | st.lists(TEXT, max_size=2)),
        "expected_retrieved_context": draw(
            st.none() | st.lists(st.fixed_dictionaries({"doc_uri": TEXT}), max_size=2)
        ),
        "custom_expected": draw(
            st.none() | st.dictionaries(TEXT.map(lambda text: f"e{text}"), PRESENT, min_size=1)
        ),
        "metadata": draw(st.dictionaries(TEXT.map(lambda text: f"m{text}"), PLAIN, max_size=2)),
    }
    if draw(st.booleans()):
        row["request_id"] = draw(TEXT.filter(bool))
    return EvalRecord.from_row(row)


MANY = st.lists(records(), max_size=4, unique_by=lambda record: encode(record)["dataset_record_id"])
# Many records per table, for stores in which creating a table is slow.
FULL_TABLE = st.lists(
    records(),
    min_size=25,
    max_size=40,
    unique_by=lambda record: encode(record)["dataset_record_id"],
)
