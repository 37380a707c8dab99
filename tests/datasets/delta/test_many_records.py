"""More records than one batch: staged on disk, then written completely or not at all."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from langchain_dbx_eval import EvalDataset, errors
from langchain_dbx_eval.datasets.delta import staging

NAME = "main.default.questions"


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging, "_BATCH_ROWS", 3)


def many(count: int) -> Iterator[dict]:
    return ({"request": f"q{n}", "expected_response": str(n)} for n in range(count))


@pytest.mark.parametrize("count", [0, 2, 3, 4, 6, 11])
def test_all_records_are_written_in_order_as_one_version(count: int) -> None:
    dataset = EvalDataset.create(NAME, many(count))
    assert [record.request for record in dataset] == [f"q{n}" for n in range(count)]
    assert (len(dataset), dataset.version) == (count, 0)


def test_the_same_inputs_in_two_batches_are_one_record() -> None:
    again = [{"request": "q1", "expected_facts": ["f"]}, {"request": "q1", "topic": "t"}]
    dataset = EvalDataset.create(NAME, [*many(8), *again, {"request": "last"}, again[0]])
    assert [record.request for record in dataset] == [*(f"q{n}" for n in range(8)), "last"]
    [one] = [record for record in dataset if record.request == "q1"]
    assert (one.expected_response, one.expected_facts) == ("1", ["f"])
    assert one.metadata == {"topic": "t"}


@pytest.mark.parametrize("invalid", [{"no": "request"}, {"request": {"x": object()}}])
def test_an_invalid_last_record_writes_nothing(invalid: dict, files) -> None:
    with pytest.raises(errors.SchemaError):
        EvalDataset.create(NAME, [*many(10), invalid])
    dataset = EvalDataset.create(NAME, many(1))
    before = files()
    with pytest.raises(errors.SchemaError):
        dataset.merge_records([*many(10), invalid])
    assert files() == before


def test_a_merge_in_batches_can_be_repeated() -> None:
    dataset = EvalDataset.create(NAME, many(4))
    more = [*many(10), {"request": "q9", "expected_facts": ["f"]}]
    for _ in range(2):
        dataset.merge_records(more)
    version = dataset.version
    assert [record.request for record in dataset] == [f"q{n}" for n in range(10)]
    assert list(dataset)[-1].expected_facts == ["f"]
    assert EvalDataset.load(NAME).merge_records([]).version == version


def test_the_error_lists_up_to_ten_invalid_rows() -> None:
    with pytest.raises(errors.SchemaError, match=r"(?s)Row 0.*Row 9.*… and 1 more") as caught:
        EvalDataset.create(NAME, [{"no": n} for n in range(11)] + [{"request": "a"}])
    assert "Row 10" not in str(caught.value)
