"""The state of a workspace: `LocalWorkspace` changes it, the HTTP server reads it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from langchain_dbx_eval.driver.engines.base import Engine
from langchain_dbx_eval.testing.faults import FaultQueue
from langchain_dbx_eval.testing.lakehouse.tables import Lakehouse
from langchain_dbx_eval.testing.serving.endpoints import Endpoint

__all__ = ["RecordedRequest", "WorkspaceState"]


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """A request that the workspace received, whatever its response was.

    Attributes:
        method: The HTTP method, such as ``"POST"``.
        path: The decoded path, without the query string.
        headers: The headers, their names in Title-Case; the value of ``Authorization`` is masked.
        body: The decoded JSON body; None: it was empty or not JSON.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    body: Any


@dataclass(slots=True)
class WorkspaceState:
    """The state of one workspace.

    Attributes:
        token: The only bearer token that is accepted.
        org_id: The id of the workspace.
        endpoints: The serving endpoints by name.
        external_models: The models of external providers by name, for endpoints that are created
            over REST.
        stopped_clusters: The clusters for which the driver proxy returns an error.
        faults: The planned faults.
        requests: The requests so far, in order of arrival.
        lakehouse: The tables, volumes and SQL warehouses.
        closing: Set when the workspace stops; it ends all delays.
    """

    token: str = field(repr=False)
    org_id: str
    endpoints: dict[str, Endpoint] = field(default_factory=dict)
    external_models: dict[str, Engine | Callable[..., Any]] = field(default_factory=dict)
    stopped_clusters: set[str] = field(default_factory=set)
    faults: FaultQueue = field(default_factory=FaultQueue)
    requests: list[RecordedRequest] = field(default_factory=list)
    lakehouse: Lakehouse = field(default_factory=Lakehouse)
    closing: threading.Event = field(default_factory=threading.Event)
