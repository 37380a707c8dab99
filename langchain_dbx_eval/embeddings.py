"""`DatabricksEmbeddings`: an embedding model behind a serving endpoint or a driver-proxy app."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from langchain_core.embeddings import Embeddings
from pydantic import ConfigDict, Field
from typing_extensions import Unpack, override

from langchain_dbx_eval.client import flow
from langchain_dbx_eval.client.arguments import OTHER_NAMES, ConnectionArguments
from langchain_dbx_eval.client.connection import DatabricksConnection
from langchain_dbx_eval.client.flow import Concurrent, Flow
from langchain_dbx_eval.client.request_options import split_options
from langchain_dbx_eval.errors import DatabricksError
from langchain_dbx_eval.wire.openai.embeddings import check_dimension, decode_vectors
from langchain_dbx_eval.wire.tasks import EMBEDDINGS, EmbeddingsCodec, embeddings_codec

__all__ = ["DatabricksEmbeddings"]

# Foundation-model endpoints accept 4 MB (Databricks, "Model Serving limits"). This leaves a margin,
# because JSON writes some characters as six bytes.
_MAX_BYTES = 2_000_000


@dataclass(frozen=True)
class _Batch:
    """The texts of one request, and the position of the first among all texts."""

    first: int
    texts: list[str]


class EmbeddingsArguments(ConnectionArguments, total=False):
    """The arguments of `DatabricksEmbeddings`; its fields describe them."""

    endpoint: str | None
    model: str | None
    target_uri: str
    query_params: dict[str, Any]
    documents_params: dict[str, Any]
    chunk_size: int
    max_concurrency: int


class DatabricksEmbeddings(DatabricksConnection, Embeddings):
    """An embedding model on Databricks as LangChain embeddings.

    Two targets: a model serving endpoint (`endpoint`, alias `model`), and an HTTP app on a
    cluster's driver node (`cluster_driver_port`) that implements OpenAI's embeddings API.

    Example:
        ```python
        embeddings = DatabricksEmbeddings(endpoint="databricks-bge-large-en")
        embeddings.embed_query("hello")[:3]
        ```

    Raises:
        ConfigurationError: Neither or both targets are given, or an argument is invalid.
        DatabricksError: A call failed; see `langchain_dbx_eval.errors`.
    """

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    if TYPE_CHECKING:

        def __init__(self, **arguments: Unpack[EmbeddingsArguments]) -> None: ...

    OTHER_NAMES: ClassVar[dict[str, str]] = {**OTHER_NAMES, "model": "endpoint"}
    ENDPOINT_FIELD: ClassVar[str] = "endpoint"
    LOGIN_URI_FIELD: ClassVar[str] = "target_uri"
    PARAMS_FIELDS: ClassVar[str] = "documents_params= and query_params"

    endpoint: str | None = None
    """The serving endpoint to call (also `model=`)."""

    target_uri: str = "databricks"
    """``databricks``, or ``databricks://<profile>`` to log in with a profile."""

    query_params: dict[str, Any] = Field(default_factory=dict)
    """Further parameters of the request for a query, such as ``instruction``."""

    documents_params: dict[str, Any] = Field(default_factory=dict)
    """Further parameters of each request for documents."""

    chunk_size: int = Field(default=100, gt=0)
    """The maximum number of texts per request; fewer if they exceed 2 MB together."""

    max_concurrency: int = Field(default=16, gt=0)
    """The maximum number of concurrent requests."""

    @override
    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Embed many texts.

        Args:
            texts: Any number of texts.

        Returns:
            One vector per text, in their order, all of the same dimension.

        Raises:
            DatabricksError: A request failed; the message has the positions of its texts.
        """
        return flow.run(self._embed_documents(texts))

    @override
    def embed_query(self, text: str) -> list[float]:
        """Embed one text as a query.

        Returns:
            Its vector.

        Raises:
            DatabricksError: The request failed.
        """
        return flow.run(self._embed([text], self.query_params))[0]

    @override
    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """Embed many texts with asyncio; see `embed_documents`."""
        return await flow.run_async(self._embed_documents(texts))

    @override
    async def aembed_query(self, text: str) -> list[float]:
        """Embed one text with asyncio; see `embed_query`."""
        return (await flow.run_async(self._embed([text], self.query_params)))[0]

    @property
    def _codec(self) -> EmbeddingsCodec:
        return embeddings_codec(EMBEDDINGS)

    @property
    @override
    def _route(self) -> str:
        return self._codec.route

    def _embed_documents(self, texts: list[str]) -> Flow[list[list[float]]]:
        batches = [self._embed_batch(batch) for batch in self._batches(texts)]
        results: list[list[list[float]]] = yield Concurrent(batches, self.max_concurrency)
        vectors = [vector for result in results for vector in result]
        with flow.naming_target(self._called):
            check_dimension(vectors)
        return vectors

    def _embed_batch(self, batch: _Batch) -> Flow[list[list[float]]]:
        try:
            return (yield from self._embed(batch.texts, self.documents_params))
        except DatabricksError as error:
            last = batch.first + len(batch.texts) - 1
            error.add_advice(f"The request contained texts {batch.first} to {last}.")
            raise

    def _embed(self, texts: list[str], params: dict[str, Any]) -> Flow[list[list[float]]]:
        params, options = split_options(params)
        body = self._transform_input(self._codec.encode(texts, params))
        payload = yield from self._send(body, options=options)
        return self._decode(
            payload,
            lambda payload: self._codec.decode(payload, len(texts)),
            lambda output: decode_vectors(output, len(texts)),
        )

    def _batches(self, texts: Sequence[str]) -> Iterator[_Batch]:
        batch: list[str] = []
        size = first = 0
        for position, text in enumerate(texts):
            length = len(text.encode("utf-8", "replace"))
            if batch and (len(batch) == self.chunk_size or size + length > _MAX_BYTES):
                yield _Batch(first, batch)
                batch, size, first = [], 0, position
            batch.append(text)
            size += length
        if batch:
            yield _Batch(first, batch)
