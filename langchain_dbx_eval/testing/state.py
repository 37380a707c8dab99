"""What a workspace holds: shared by `LocalWorkspace`, which changes it, and its HTTP side."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from langchain_dbx_eval.testing.lakehouse.faults import SqlFaults
from langchain_dbx_eval.testing.lakehouse.tables import Lakehouse
from langchain_dbx_eval.testing.request_log import RequestLog
from langchain_dbx_eval.testing.serving.endpoints import Endpoint
from langchain_dbx_eval.testing.serving.faults import FaultPlan

__all__ = ["WorkspaceState"]


@dataclass(slots=True)
class WorkspaceState:
    """The state of one workspace.

    Attributes:
        token: The one token that is accepted.
        org_id: The workspace's id.
        endpoints: The serving endpoints by name.
        stopped_clusters: The clusters whose driver proxy refuses.
        faults: The faults still to come.
        log: The requests so far.
        lakehouse: The tables and SQL warehouses.
        sql_faults: The faults of warehouses still to come.
        closing: Set when the workspace stops, so that no delay holds it up.
    """

    token: str = field(repr=False)
    org_id: str
    endpoints: dict[str, Endpoint] = field(default_factory=dict)
    stopped_clusters: set[str] = field(default_factory=set)
    faults: FaultPlan = field(default_factory=FaultPlan)
    log: RequestLog = field(default_factory=RequestLog)
    lakehouse: Lakehouse = field(default_factory=Lakehouse)
    sql_faults: SqlFaults = field(default_factory=SqlFaults)
    closing: threading.Event = field(default_factory=threading.Event)
