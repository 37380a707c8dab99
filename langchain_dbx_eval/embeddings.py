"""`DatabricksEmbeddings`: an embedding model behind a serving endpoint or a driver-proxy app."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.embeddings import Embeddings
from pydantic import ConfigDict, Field
from typing_extensions import override

from langchain_dbx_eval._internal.fan_out import fan_out, fan_out_async
from langchain_dbx_eval.client.connection import DatabricksConnection
from langchain_dbx_eval.errors import DatabricksError
from langchain_dbx_eval.wire.openai import embeddings

__all__ = ["DatabricksEmbeddings"]

# Foundation-model endpoints take 4 MB (Databricks, "Model Serving limits"): with room to spare,
# for JSON writes some characters as six.
_MOST_BYTES = 2_000_000


@dataclass(frozen=True)
class _Part:
    """Some of the texts to embed, and the place of the first among them all."""

    first: int
    texts: list[str]


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
        ConfigurationError: Neither or both targets are given, or an argument is not usable.
        DatabricksError: A call failed; `langchain_dbx_eval.errors` has the tree.
    """

    model_config = ConfigDict(extra="forbid", populate_by_name=True, protected_namespaces=())

    endpoint: str | None = Field(default=None, alias="model")
    """The serving endpoint to call."""

    target_uri: str = "databricks"
    """``databricks``, or ``databricks://<profile>`` to log in with a profile."""

    query_params: dict[str, Any] = Field(default_factory=dict)
    """Further parameters of the request for a query, such as ``instruction``."""

    documents_params: dict[str, Any] = Field(default_factory=dict)
    """Further parameters of each request for documents."""

    chunk_size: int = Field(default=100, gt=0)
    """The most texts in one request; fewer where they are long (2 MB a request)."""

    max_concurrency: int = Field(default=16, gt=0)
    """The most requests in flight at once."""

    @override
    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Embed many texts.

        Args:
            texts: Any number of texts.

        Returns:
            One vector a text, in their order, all of one dimension.

        Raises:
            DatabricksError: A request failed for good; the message names its texts.
        """
        vectors = fan_out(self._embed_part, list(self._parts(texts)), self.max_concurrency)
        return self._joined(vectors)

    @override
    def embed_query(self, text: str) -> list[float]:
        """Embed one text, as a query.

        Returns:
            Its vector.

        Raises:
            DatabricksError: The request failed.
        """
        return self._read(self._post(self._body([text], self.query_params)), 1)[0]

    @override
    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """Embed many texts without blocking the event loop; see `embed_documents`."""
        parts = list(self._parts(texts))
        return self._joined(await fan_out_async(self._aembed_part, parts, self.max_concurrency))

    @override
    async def aembed_query(self, text: str) -> list[float]:
        """Embed one text without blocking the event loop; see `embed_query`."""
        return self._read(await self._apost(self._body([text], self.query_params)), 1)[0]

    @classmethod
    @override
    def _name_of_further_parameters(cls) -> str:
        return "documents_params= and query_params"

    @override
    def _model(self) -> str | None:
        return self.endpoint

    @override
    def _login_uri(self) -> str | None:
        return self.target_uri

    @override
    def _route(self) -> str:
        return "embeddings"

    def _body(self, texts: list[str], params: dict[str, Any]) -> dict[str, Any]:
        return self._before(embeddings.encode(texts, params))

    def _embed_part(self, part: _Part) -> list[list[float]]:
        try:
            answer = self._post(self._body(part.texts, self.documents_params))
            return self._read(answer, len(part.texts))
        except DatabricksError as error:
            _name_texts(error, part)
            raise

    async def _aembed_part(self, part: _Part) -> list[list[float]]:
        try:
            answer = await self._apost(self._body(part.texts, self.documents_params))
            return self._read(answer, len(part.texts))
        except DatabricksError as error:
            _name_texts(error, part)
            raise

    def _read(self, answer: Any, count: int) -> list[list[float]]:
        hooked = self.transform_output_fn is not None
        answer = self._after(answer)
        with self._decoding(hooked=hooked):
            read = embeddings.decode_vectors if hooked else embeddings.decode
            return read(answer, count)

    def _joined(self, parts: Sequence[list[list[float]]]) -> list[list[float]]:
        vectors = [vector for part in parts for vector in part]
        with self._decoding():
            embeddings.check_dimension(vectors)
        return vectors

    def _parts(self, texts: Sequence[str]) -> Iterator[_Part]:
        part: list[str] = []
        size = first = 0
        for number, text in enumerate(texts):
            length = len(text.encode("utf-8", "replace"))
            if part and (len(part) == self.chunk_size or size + length > _MOST_BYTES):
                yield _Part(first, part)
                part, size, first = [], 0, number
            part.append(text)
            size += length
        if part:
            yield _Part(first, part)


def _name_texts(error: DatabricksError, part: _Part) -> None:
    last = part.first + len(part.texts) - 1
    error.add_advice(f"It was the request for texts {part.first} to {last}.")
