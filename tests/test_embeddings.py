"""`DatabricksEmbeddings`: chunks, order, and unexpected responses."""

from __future__ import annotations

import pytest
import responses

from langchain_dbx_eval import DatabricksEmbeddings, errors
from langchain_dbx_eval.testing import LocalWorkspace


def lengths(texts: list[str], **params) -> list[list[float]]:
    return [[float(len(text)), 1.0] for text in texts]


def test_many_texts_are_sent_in_chunks_and_come_back_in_order(workspace: LocalWorkspace) -> None:
    workspace.add_endpoint("e", lengths, kind="embeddings")
    texts = ["x" * n for n in range(1, 8)]
    vectors = DatabricksEmbeddings(endpoint="e", chunk_size=3).embed_documents(texts)
    assert [vector[0] for vector in vectors] == [1, 2, 3, 4, 5, 6, 7]
    assert sorted(len(r.body["input"]) for r in workspace.requests) == [1, 3, 3]


def test_no_texts_need_no_request(workspace: LocalWorkspace) -> None:
    assert DatabricksEmbeddings(endpoint="e").embed_documents([]) == []
    assert not workspace.requests


def test_queries_and_documents_have_parameters_of_their_own(workspace: LocalWorkspace) -> None:
    workspace.add_endpoint("e", lengths, kind="embeddings")
    embeddings = DatabricksEmbeddings(
        endpoint="e", query_params={"instruction": "q"}, documents_params={"instruction": "d"}
    )
    embeddings.embed_query("a")
    embeddings.embed_documents(["a"])
    assert [r.body["instruction"] for r in workspace.requests] == ["q", "d"]


def test_hooks_adapt_a_model_of_another_format(workspace: LocalWorkspace) -> None:
    workspace.add_endpoint("e", lambda prompt: [1.0, 2.0], kind="custom")
    embeddings = DatabricksEmbeddings(
        endpoint="e",
        transform_input_fn=lambda **r: {"dataframe_records": [{"prompt": t} for t in r["input"]]},
        transform_output_fn=lambda response: response["predictions"],
    )
    assert embeddings.embed_documents(["a", "b"]) == [[1.0, 2.0], [1.0, 2.0]]


URL = "https://w.example/serving-endpoints/e/invocations"


def embeddings_answered(data: object) -> DatabricksEmbeddings:
    responses.post(URL, json={"data": data})
    return DatabricksEmbeddings(endpoint="e", host="w.example", api_token="t")


@responses.activate
def test_vectors_are_ordered_by_their_index() -> None:
    data = [{"index": 1, "embedding": [1.0]}, {"index": 0, "embedding": [0.0]}]
    assert embeddings_answered(data).embed_documents(["a", "b"]) == [[0.0], [1.0]]


@pytest.mark.parametrize(
    "data",
    [
        [{"index": 0, "embedding": [1.0]}],
        [{"index": 1, "embedding": [1.0]}, {"index": 1, "embedding": [1.0]}],
        [{"index": 0, "embedding": [1.0]}, {"index": 2, "embedding": [1.0]}],
        [{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": [1.0, 2.0]}],
        [{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": ["x"]}],
        [{"index": 0, "embedding": [1.0]}, {"index": 1}],
        "none",
    ],
)
@responses.activate
def test_vectors_that_do_not_match_the_texts_are_rejected(data: object) -> None:
    with pytest.raises(errors.InvalidResponseError, match="endpoint 'e'"):
        embeddings_answered(data).embed_documents(["a", "b"])
