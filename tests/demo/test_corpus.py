"""The handbook of the demonstration, the questions about it, and the retrievers."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import pytest
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever

from langchain_dbx_eval.demo.corpus import load_corpus, load_questions
from langchain_dbx_eval.demo.retriever import BM25Retriever, retriever_for

VARIANTS: tuple[Literal["baseline", "better"], ...] = ("baseline", "better")


@pytest.fixture(scope="module", params=VARIANTS)
def retriever(request: pytest.FixtureRequest) -> BaseRetriever:
    return retriever_for(request.param)


def document_recall(retriever: BaseRetriever) -> float:
    recalls = []
    for question in load_questions():
        expected = {page["doc_uri"] for page in question["expected_retrieved_context"]}
        found = {page.metadata["doc_uri"] for page in retriever.invoke(question["request"])}
        recalls.append(len(expected & found) / len(expected))
    return sum(recalls) / len(recalls)


def test_the_handbook_has_32_pages_each_with_its_file_name_and_title() -> None:
    pages = load_corpus()
    assert len(pages) == 32
    for page in pages:
        assert page.metadata["doc_uri"].endswith(".md")
        assert page.page_content.startswith(f"# {page.metadata['title']}\n\n")
    assert len({page.metadata["doc_uri"] for page in pages}) == 32


def test_there_are_at_least_40_questions_with_unique_ids_and_requests() -> None:
    questions = load_questions()
    assert len(questions) >= 40
    assert len({question["request_id"] for question in questions}) == len(questions)
    assert len({question["request"] for question in questions}) == len(questions)


def test_every_question_has_an_expected_answer_and_documents_that_exist() -> None:
    pages = {page.metadata["doc_uri"] for page in load_corpus()}
    for question in load_questions():
        assert question["expected_response"].strip()
        expected = {page["doc_uri"] for page in question["expected_retrieved_context"]}
        assert expected
        assert expected <= pages


def test_some_questions_need_two_documents() -> None:
    sizes = [len(question["expected_retrieved_context"]) for question in load_questions()]
    assert sizes.count(2) >= 5


def test_a_retriever_returns_k_distinct_passages_of_known_pages(retriever: BM25Retriever) -> None:
    pages = {page.metadata["doc_uri"] for page in load_corpus()}
    for question in load_questions():
        found = retriever.invoke(question["request"])
        assert len(found) == retriever.k
        assert len({document.page_content for document in found}) == retriever.k
        assert {document.metadata["doc_uri"] for document in found} <= pages


def test_a_query_without_a_known_word_returns_no_documents(retriever: BM25Retriever) -> None:
    assert retriever.invoke("xylophone zeppelin") == []
    assert retriever.invoke("") == []


def test_threads_that_share_a_retriever_get_the_same_documents_as_one_thread(
    retriever: BM25Retriever,
) -> None:
    requests = [question["request"] for question in load_questions()] * 4
    alone = [retriever.invoke(request) for request in requests]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(retriever.invoke, requests)) == alone


def test_ainvoke_returns_the_same_documents_as_invoke(retriever: BM25Retriever) -> None:
    assert asyncio.run(retriever.ainvoke("time travel")) == retriever.invoke("time travel")


def test_the_better_retriever_matches_inflected_words() -> None:
    found = retriever_for("better").invoke("hallucinations")
    assert found[0].metadata["doc_uri"] == "groundedness.md"


def test_the_better_retriever_recalls_more_and_neither_recalls_everything() -> None:
    baseline, better = (document_recall(retriever_for(variant)) for variant in VARIANTS)
    assert 0 < baseline < better < 1


def test_the_best_match_comes_first_and_k_may_exceed_the_documents() -> None:
    documents = [Document("red apple"), Document("green apple"), Document("blue plum")]
    retriever = BM25Retriever(documents=documents, tokenizer=str.split, k=10)
    assert retriever.invoke("green apple") == [documents[1], documents[0]]


def test_a_retriever_without_documents_is_an_error() -> None:
    with pytest.raises(ValueError, match="documents"):
        BM25Retriever(documents=[], tokenizer=str.split)


def test_a_retriever_prints_no_progress_bars(capfd: pytest.CaptureFixture[str]) -> None:
    retriever_for("better").invoke("time travel")
    assert capfd.readouterr() == ("", "")
