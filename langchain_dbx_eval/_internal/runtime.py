"""Where this process runs: on which cluster, and what is the same machine."""

from __future__ import annotations

import ipaddress
import os
import sys
from collections.abc import Mapping

__all__ = ["current_cluster_id", "is_loopback"]


def current_cluster_id(environment: Mapping[str, str] = os.environ) -> str | None:
    """The id of the cluster that this notebook or job runs on, or None elsewhere.

    ``DATABRICKS_CLUSTER_ID`` is databricks-sdk's own setting for it; on a cluster, the notebook's
    context knows it.
    """
    if cluster_id := environment.get("DATABRICKS_CLUSTER_ID"):
        return cluster_id
    # Only Databricks' runtime has this module, and a notebook has always loaded it already.
    context = sys.modules.get("dbruntime.databricks_repl_context")
    if context is None:
        return None
    cluster_id = getattr(context.get_context(), "clusterId", None)
    return str(cluster_id) if cluster_id else None


def is_loopback(host: str) -> bool:
    """Whether a host name or address, without a port, is always this very machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
