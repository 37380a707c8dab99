"""`DatabricksEmbeddings`: an embedding model behind a serving endpoint or a driver-proxy app."""

from __future__ import annotations

from typing import Any

from langchain_core.embeddings import Embeddings
from pydantic import ConfigDict, Field

from langchain_dbx_eval.connection import DatabricksConnection
from langchain_dbx_eval.wire import embeddings

__all__ = ["DatabricksEmbeddings"]


class DatabricksEmbeddings(DatabricksConnection, Embeddings):
    """An embedding model on Databricks as LangChain embeddings.

    Two targets: a model serving endpoint (`endpoint`, also called `model`), and an HTTP app on a
    cluster's driver node (`cluster_driver_port`) that speaks OpenAI's embeddings.

    Example:
        ```python
        embeddings = DatabricksEmbeddings(endpoint="databricks-bge-large-en")
        embeddings.embed_query("hello")[:3]
        ```

    Raises:
        ConfigurationError: Neither or both targets are given, or one is not usable.
        DatabricksError: A call failed; `langchain_dbx_eval.errors` has the tree.
    """

    model_config = ConfigDict(extra="forbid", populate_by_name=True, protected_namespaces=())

    endpoint: str | None = Field(default=None, alias="model")
    """The serving endpoint to call."""

    target_uri: str = "databricks"
    """``databricks``, or ``databricks://<profile>`` to log in with a profile."""

    query_params: dict[str, Any] = Field(default_factory=dict)
    """Further parameters of the request for a query."""

    documents_params: dict[str, Any] = Field(default_factory=dict)
    """Further parameters of each request for documents."""

    chunk_size: int = Field(default=100, gt=0)
    """The most texts in one request."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Embed many texts.

        Args:
            texts: Any number of texts.

        Returns:
            One vector a text, in their order, all of one dimension.

        Raises:
            DatabricksError: A request failed.
        """
        chunks = [texts[i : i + self.chunk_size] for i in range(0, len(texts), self.chunk_size)]
        return [vector for chunk in chunks for vector in self._embed(chunk, self.documents_params)]

    def embed_query(self, text: str) -> list[float]:
        """Embed one text, as a query.

        Returns:
            Its vector.

        Raises:
            DatabricksError: The request failed.
        """
        return self._embed([text], self.query_params)[0]

    def _endpoint(self) -> str | None:
        return self.endpoint

    def _login_uri(self) -> str | None:
        return self.target_uri

    def _embed(self, texts: list[str], params: dict[str, Any]) -> list[list[float]]:
        answer = self._post(self._before(embeddings.encode(texts, params)))
        with self._decoding():
            if self.transform_output_fn is not None:
                return embeddings.decode_vectors(self._after(answer), len(texts))
            return embeddings.decode(answer, len(texts))
