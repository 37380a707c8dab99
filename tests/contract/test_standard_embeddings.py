"""LangChain's standard tests of embeddings, over real HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from langchain_tests.integration_tests import EmbeddingsIntegrationTests
from langchain_tests.unit_tests import EmbeddingsUnitTests

from langchain_dbx_eval import DatabricksEmbeddings
from langchain_dbx_eval.testing import LocalWorkspace


@pytest.fixture(autouse=True)
def _endpoint() -> Iterator[None]:
    with LocalWorkspace() as workspace:
        workspace.add_endpoint(
            "e", lambda texts, **params: [[float(len(t)), 0.5] for t in texts], kind="embeddings"
        )
        yield


class TestIntegration(EmbeddingsIntegrationTests):
    @property
    def embeddings_class(self) -> type[DatabricksEmbeddings]:
        return DatabricksEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"endpoint": "e"}


class TestUnit(EmbeddingsUnitTests):
    @property
    def embeddings_class(self) -> type[DatabricksEmbeddings]:
        return DatabricksEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"endpoint": "e"}
