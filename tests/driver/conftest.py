"""Driver servers on real sockets, and an environment that they may change."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any
from unittest import mock

import pytest
from openai import OpenAI

from langchain_dbx_eval.driver import DriverServer, Engine, UpstreamEngine
from langchain_dbx_eval.driver.http.auth import KEY_VARIABLE, ApiKey


@pytest.fixture(autouse=True)
def _isolated_environment() -> Iterator[None]:
    with mock.patch.dict(os.environ):
        os.environ.pop(KEY_VARIABLE, None)
        os.environ.pop("DATABRICKS_CLUSTER_ID", None)
        yield


@pytest.fixture
def start_server() -> Iterator[Callable[..., DriverServer]]:
    """Start a server on a free loopback port, without a key unless one is given."""
    with ExitStack() as servers:

        def start(engine: Engine | Callable[..., str], api_key: ApiKey = False) -> DriverServer:
            return servers.enter_context(DriverServer(engine, "127.0.0.1", 0, api_key))

        yield start


@pytest.fixture(params=["function", "upstream"])
def client(
    request: pytest.FixtureRequest, start_server: Callable[..., DriverServer]
) -> Iterator[Callable[..., OpenAI]]:
    """Create a client of a function, or of a server in front of that function's server."""
    with ExitStack() as clients:

        def create(function: Callable[..., Any]) -> OpenAI:
            server = start_server(function)
            if request.param == "upstream":
                server = start_server(UpstreamEngine(f"{server.url}/v1", "m"))
            new = OpenAI(base_url=f"{server.url}/v1", api_key="unused", max_retries=0)
            return clients.enter_context(new)

        yield create
