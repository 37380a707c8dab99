"""A Databricks workspace on your own machine, for tests and demonstrations.

`LocalWorkspace` is a real HTTP server on a free loopback port. It answers as serving endpoints
and as the driver proxy do, fails on demand, and remembers what it was asked. It shares no code
with the clients of this package: it is the other side of the wire.
"""

from langchain_dbx_eval.testing.lakehouse.tables import Storage
from langchain_dbx_eval.testing.request_log import RecordedRequest
from langchain_dbx_eval.testing.serving.endpoints import EndpointKind
from langchain_dbx_eval.testing.workspace import LocalWorkspace

__all__ = ["EndpointKind", "LocalWorkspace", "RecordedRequest", "Storage"]
