"""The Responses API.

Protocols: OpenAI's "Responses" API, as ``/serving-endpoints/responses`` implements it, and MLflow
3.17's ResponsesAgent (`mlflow.types.responses`, endpoints of task ``agent/v1/responses``), which
adds ``custom_inputs``, ``context`` and ``custom_outputs``.

The content of an answer is always a list of LangChain's standard blocks, in `invoke` and in
streams: only blocks can hold the ids, citations and reasoning that the next request must repeat.

Modules:
    request: `encode`, from messages and parameters to the body.
    response: `decode`, from the JSON of a response to a message, and from its items to blocks.
    stream: `Stream`, the reader of a streamed response.
"""

from __future__ import annotations

from langchain_dbx_eval.wire.responses.request import encode
from langchain_dbx_eval.wire.responses.response import decode
from langchain_dbx_eval.wire.responses.stream import Stream
from langchain_dbx_eval.wire.tasks import ChatCodec

__all__ = ["CODEC", "Stream", "decode", "encode"]

CODEC = ChatCodec(encode=encode, decode=decode, stream=Stream, route="responses")
