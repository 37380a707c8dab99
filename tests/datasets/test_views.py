"""Metadata, digests, filters, samples, splits, snapshots and previews of datasets."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from langchain_dbx_eval import EvalDataset, errors

NAME = "main.default.questions"
HUNDRED = [{"request": f"question {n}", "n": n} for n in range(100)]


def test_a_table_has_an_id_a_creator_and_an_update_time(three) -> None:
    dataset = EvalDataset.create(NAME, three)
    assert len(dataset.dataset_id) == 36
    assert dataset.created_by
    before = dataset.last_update_time
    assert before.tzinfo is not None
    dataset.merge_records([{"request": "four?"}])
    assert dataset.last_update_time > before
    assert dataset.schema["inputs"] == "string"
    assert dataset.backend == "local"


def test_the_digest_depends_on_the_content_and_not_on_order_or_source(
    tmp_path: Path, three
) -> None:
    digest = EvalDataset.load(three).digest
    assert EvalDataset.load(three[::-1]).digest == digest
    table = EvalDataset.create(NAME, three)
    assert table.digest == digest
    assert table.snapshot(tmp_path / "copy.jsonl").digest == digest
    assert EvalDataset.load([*three, three[0]]).digest != digest
    changed = [{**three[0], "expected_response": "another"}, *three[1:]]
    assert EvalDataset.load(changed).digest != digest


def test_a_sample_does_not_depend_on_the_order_of_the_records() -> None:
    shuffled = random.Random(1).sample(HUNDRED, 100)
    one = {record.request for record in EvalDataset.load(HUNDRED).sample(10)}
    other = {record.request for record in EvalDataset.load(shuffled).sample(10)}
    assert (len(one), one) == (10, other)
    assert one != {record.request for record in EvalDataset.load(HUNDRED).sample(10, seed=2)}


def test_a_split_assigns_each_record_to_one_part_for_good() -> None:
    parts = EvalDataset.load(HUNDRED).split({"dev": 3, "test": 1})
    dev = {record.request for record in parts["dev"]}
    test = {record.request for record in parts["test"]}
    assert len(dev) + len(test) == 100
    assert dev.isdisjoint(test)
    assert 60 <= len(dev) <= 90
    more = EvalDataset.load([*HUNDRED, {"request": "another"}]).split({"dev": 3, "test": 1})
    assert dev <= {record.request for record in more["dev"]}


@pytest.mark.parametrize("fractions", [{}, {"dev": 0.0}, {"dev": 1, "test": -1}])
def test_fractions_that_are_not_positive_raise(fractions: dict) -> None:
    with pytest.raises(errors.ConfigurationError, match="fractions"):
        EvalDataset.load(HUNDRED).split(fractions)


def test_a_negative_sample_size_raises() -> None:
    with pytest.raises(errors.ConfigurationError, match="-1"):
        EvalDataset.load(HUNDRED).sample(-1)


def test_a_filter_stays_at_the_version_at_which_it_was_created() -> None:
    dataset = EvalDataset.create(NAME, HUNDRED)
    even = dataset.filter(lambda record: record.metadata.get("n", 0) % 2 == 0)
    dataset.merge_records([{"request": "new", "n": 200}])
    assert len(even) == 50
    assert even.version == 0
    assert "filter of local catalog" in even.source
    with pytest.raises(errors.ConfigurationError, match="cannot be merged into filter"):
        even.merge_records([{"request": "x"}])


def test_changes_of_the_source_do_not_affect_a_snapshot(three) -> None:
    dataset = EvalDataset.create(NAME, three)
    copy = dataset.snapshot()
    assert copy.digest in copy.name
    assert dataset.snapshot().name == copy.name
    dataset.merge_records([{"request": "one?", "expected_response": "changed"}])
    assert [record.expected_response for record in copy] == ["1", "2", "3"]


def test_a_snapshot_is_written_to_a_table_or_a_file(tmp_path: Path, three) -> None:
    dataset = EvalDataset.load(three)
    assert dataset.snapshot("main.default.copy").digest == dataset.digest
    with pytest.raises(errors.AlreadyExistsError):
        dataset.snapshot("main.default.copy")
    path = tmp_path / "copy.jsonl"
    dataset.snapshot(path)
    with pytest.raises(errors.AlreadyExistsError):
        dataset.snapshot(path)
    with pytest.raises(errors.ConfigurationError, match="jsonl"):
        dataset.snapshot(tmp_path / "copy.docx")
    assert [file.name for file in tmp_path.glob("*copy*")] == ["copy.jsonl"]


def test_a_snapshot_that_fails_leaves_no_file(tmp_path: Path) -> None:
    dataset = EvalDataset.load([{"request": "a"}, {"request": "b", "x": object()}])
    with pytest.raises(errors.SchemaError):
        dataset.snapshot(tmp_path / "copy.jsonl")
    assert not list(tmp_path.glob("*copy*"))


def test_the_preview_shows_properties_and_records_escaped() -> None:
    dataset = EvalDataset.create(
        NAME, [{"request": "<script>alert(1)</script>", "expected_response": "x" * 500}]
    )
    html = dataset._repr_html_()
    assert NAME in html
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    assert "x" * 201 not in html


def test_the_repr_of_a_dataset_reads_no_records() -> None:
    def rows():
        yield {"request": "a"}

    text = repr(EvalDataset.load(rows()))
    assert text == "EvalDataset(unnamed: records from list of records)"
    assert "2 records" in repr(EvalDataset.create(NAME, [{"request": "a"}, {"request": "b"}]))


def test_to_pandas_returns_every_record(three) -> None:
    frame = EvalDataset.load(three).to_pandas()
    assert list(frame["expected_response"]) == ["1", "2", "3"]


def test_invalid_rows_are_counted_in_the_log_and_listed_in_errors(caplog) -> None:
    dataset = EvalDataset.load([{"request": "a"}, {"no": 1}])
    assert len(dataset) == 1
    assert "1 invalid rows" in caplog.text
    assert len(dataset.errors) == 1
