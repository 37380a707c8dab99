from __future__ import annotations

import pytest

from langchain_dbx_eval.driver.http.middleware import app_path


@pytest.mark.parametrize(
    ("received", "expected"),
    [
        ("/", "/"),
        ("", "/"),
        ("//", "/"),
        ("/health", "/health"),
        ("//health", "/health"),
        ("/v1//models", "/v1/models"),
        ("/driver-proxy-http/", "/"),
        ("/driver-proxy-http", "/"),
        ("/driver-proxy-http/health", "/health"),
        ("//driver-proxy-http//health", "/health"),
        ("/driver-proxy-https", "/driver-proxy-https"),
        ("/x/driver-proxy-http/health", "/x/driver-proxy-http/health"),
        ("/driver-proxy-api/o/0/0927-034054-wqx8yh0g/7777", "/"),
        ("/driver-proxy-api/o/0/c/7777/v1/models", "/v1/models"),
        ("/driver-proxy-api/o/0/c", "/driver-proxy-api/o/0/c"),
    ],
)
def test_a_path_of_the_driver_proxy_is_mapped_to_the_route(received: str, expected: str) -> None:
    assert app_path(received) == expected
