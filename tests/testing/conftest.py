from collections.abc import Iterator

import pytest
import requests

from langchain_dbx_eval.testing import LocalWorkspace


class Session(requests.Session):
    """A session with the base URL and the token of a workspace."""

    def __init__(self, workspace: LocalWorkspace) -> None:
        super().__init__()
        self.trust_env = False
        self.headers["Authorization"] = f"Bearer {workspace.token}"
        self._url = workspace.url

    def request(self, method, path, **kwargs):
        kwargs.setdefault("timeout", 60)
        return super().request(method, self._url + path, **kwargs)

    def query(self, endpoint: str, body: object, **kwargs) -> requests.Response:
        return self.post(f"/serving-endpoints/{endpoint}/invocations", json=body, **kwargs)


@pytest.fixture
def workspace() -> Iterator[LocalWorkspace]:
    with LocalWorkspace() as workspace:
        yield workspace


@pytest.fixture
def session(workspace: LocalWorkspace) -> Iterator[Session]:
    with Session(workspace) as session:
        yield session
