"""Scorers that need no judge model. A metric is one class, exported by the ``__all__`` of its file.

Modules:
    retrieval: the retrieved documents compared with ``expected_retrieved_context``.
    text: the response compared with ``expected_response``.
    format: the form of the response.
"""

from langchain_dbx_eval.scoring.metrics import format, retrieval, text
from langchain_dbx_eval.scoring.metrics.format import *  # noqa: F403
from langchain_dbx_eval.scoring.metrics.retrieval import *  # noqa: F403
from langchain_dbx_eval.scoring.metrics.text import *  # noqa: F403

__all__: list[str] = []
__all__ += format.__all__
__all__ += retrieval.__all__
__all__ += text.__all__
