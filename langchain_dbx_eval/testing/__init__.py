"""A Databricks workspace on this machine, for tests and demonstrations.

`LocalWorkspace` is an HTTP server on a free loopback port. It emulates serving endpoints, the
driver proxy, SQL warehouses and Unity Catalog, injects faults, and records the requests that it
receives. It shares no code with the clients of this package, so a bug in a client is not repeated
here.

Modules:
    workspace: `LocalWorkspace`, the public class.
    state: the state of a workspace, and the record of a request.
    faults: the faults that can be injected, and the queue of planned ones.
    errors: `ApiError`, an error response.
    http: the server and its routes.
    serving: the serving endpoints, one module per kind.
    lakehouse: tables, SQL warehouses, volumes and managed datasets.
"""

from langchain_dbx_eval.testing.lakehouse.tables import Storage
from langchain_dbx_eval.testing.serving.endpoints import EndpointKind
from langchain_dbx_eval.testing.state import RecordedRequest
from langchain_dbx_eval.testing.workspace import LocalWorkspace

__all__ = ["EndpointKind", "LocalWorkspace", "RecordedRequest", "Storage"]
