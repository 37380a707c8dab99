"""The cluster and machine that this process runs on."""

from __future__ import annotations

import ipaddress
import os
import sys
from collections.abc import Mapping

__all__ = ["current_cluster_id", "is_loopback", "is_notebook"]

# Only Databricks' runtime has this module, and each notebook has loaded it.
_NOTEBOOK_CONTEXT = "dbruntime.databricks_repl_context"


def current_cluster_id(environment: Mapping[str, str] = os.environ) -> str | None:
    """Return the id of the cluster that this notebook or job runs on; None elsewhere.

    It is ``DATABRICKS_CLUSTER_ID``, which is databricks-sdk's setting too, or an attribute of the
    notebook's context.
    """
    if cluster_id := environment.get("DATABRICKS_CLUSTER_ID"):
        return cluster_id
    context = sys.modules.get(_NOTEBOOK_CONTEXT)
    if context is None:
        return None
    cluster_id = getattr(context.get_context(), "clusterId", None)
    return str(cluster_id) if cluster_id else None


def is_notebook() -> bool:
    """Whether this code runs in a notebook or job of Databricks."""
    return _NOTEBOOK_CONTEXT in sys.modules


def is_loopback(host: str) -> bool:
    """Whether a host name or address, without a port, always refers to this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
