import base64
import re

import pytest
import requests
from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import PermissionDenied, ResourceDoesNotExist
from databricks.sdk.service.serving import ChatMessage, ChatMessageRole

QUESTION = {"messages": [{"role": "user", "content": "hello"}]}


@pytest.fixture(autouse=True)
def endpoints(workspace):
    workspace.add_endpoint("my-chat", lambda messages, **params: "hi", kind="chat")
    workspace.add_endpoint("dolly", lambda prompt: "hi", kind="custom")
    workspace.add_endpoint("gpt", lambda messages: "hi", kind="chat", external=True)


@pytest.mark.parametrize(
    "path",
    [
        "/serving-endpoints/my-chat/invocations",
        "/serving-endpoints/chat/completions",
        "/driver-proxy-api/o/0/c1/7777/",
        "/no/such/path",
    ],
)
def test_a_request_without_a_token_is_401_with_the_gateways_message(workspace, path):
    answer = requests.post(workspace.url + path, json=QUESTION, timeout=60)

    assert answer.status_code == 401
    assert answer.json()["error_code"] == 401
    assert answer.json()["message"].startswith("Credential was not sent or was of an unsupported")


def test_a_password_is_a_credential_of_an_unsupported_type(session):
    basic = base64.b64encode(b"token:secret").decode()

    answer = session.get("/api/2.0/serving-endpoints", headers={"Authorization": f"Basic {basic}"})

    assert answer.status_code == 401


@pytest.mark.parametrize("token", ["wrong", "", "ñ"])
def test_a_wrong_token_is_403_invalid_access_token(session, token):
    header = {"Authorization": f"Bearer {token}".encode("latin-1")}

    answer = session.get("/api/2.0/serving-endpoints", headers=header)

    assert answer.status_code == 403
    assert answer.json()["message"].startswith("Invalid access token.")


@pytest.mark.parametrize(
    "path", ["/.well-known/databricks-config", "/oidc/.well-known/oauth-authorization-server"]
)
def test_discovery_needs_no_token(workspace, path):
    answer = requests.get(workspace.url + path, timeout=60)

    assert answer.status_code == 200
    assert workspace.url in answer.text


def test_every_response_has_its_own_request_id(session):
    paths = ["/api/2.0/serving-endpoints", "/nowhere", "/api/2.0/serving-endpoints/nope"]

    ids = {session.get(path).headers["x-request-id"] for path in paths}

    assert len(ids) == 3


def test_an_unknown_endpoint_is_404_resource_does_not_exist(session):
    answer = session.query("nope", QUESTION)

    assert answer.status_code == 404
    assert answer.json() == {
        "error_code": "RESOURCE_DOES_NOT_EXIST",
        "message": "Endpoint with name 'nope' does not exist.",
    }


def test_an_unknown_path_is_404_endpoint_not_found(session):
    answer = session.get("/api/2.0/clusters")

    assert (answer.status_code, answer.json()["error_code"]) == (404, "ENDPOINT_NOT_FOUND")


def test_a_doubled_slash_is_not_redirected(session):
    answer = session.post("/serving-endpoints//my-chat/invocations", json=QUESTION)

    assert (answer.status_code, answer.history) == (404, [])


@pytest.mark.parametrize(
    ("name", "task", "endpoint_type"),
    [
        ("my-chat", "llm/v1/chat", "FOUNDATION_MODEL_API"),
        ("gpt", "llm/v1/chat", "EXTERNAL_MODEL"),
        ("dolly", None, None),
    ],
)
def test_the_description_has_task_and_type(session, name, task, endpoint_type):
    description = session.get(f"/api/2.0/serving-endpoints/{name}").json()

    assert description["name"] == name
    assert description.get("task") == task
    assert description.get("endpoint_type") == endpoint_type
    assert description["state"] == {"ready": "READY", "config_update": "NOT_UPDATING"}


def test_the_list_contains_all_endpoints(session):
    listed = session.get("/api/2.0/serving-endpoints").json()["endpoints"]

    assert {endpoint["name"] for endpoint in listed} == {"my-chat", "dolly", "gpt"}


def test_the_databricks_sdk_finds_the_workspace_in_the_environment(workspace):
    description = WorkspaceClient().serving_endpoints.get("my-chat")

    assert (description.name, description.task) == ("my-chat", "llm/v1/chat")


def test_the_databricks_sdk_reads_the_workspace_id(workspace):
    assert WorkspaceClient().config.workspace_id == workspace.org_id


def test_the_databricks_sdk_queries_a_chat_endpoint(workspace):
    message = ChatMessage(role=ChatMessageRole.USER, content="hello")

    answer = WorkspaceClient().serving_endpoints.query("my-chat", messages=[message])

    assert answer.choices[0].message.content == "hi"


def test_the_databricks_sdk_maps_the_errors(workspace):
    with pytest.raises(ResourceDoesNotExist, match="nope"):
        WorkspaceClient().serving_endpoints.get("nope")
    with pytest.raises(PermissionDenied, match="Invalid access token"):
        WorkspaceClient(token="wrong").serving_endpoints.get("my-chat")


def test_requests_are_recorded_with_method_path_headers_and_body(workspace, session):
    session.query("my-chat", QUESTION, headers={"X-Api-Key": "k"})

    [recorded] = workspace.requests
    assert recorded.method == "POST"
    assert recorded.path == "/serving-endpoints/my-chat/invocations"
    assert recorded.headers["X-Api-Key"] == "k"
    assert recorded.body == QUESTION


def test_rejected_requests_are_recorded_too(workspace):
    requests.get(f"{workspace.url}/nowhere", timeout=60)

    assert [recorded.path for recorded in workspace.requests] == ["/nowhere"]


def test_no_recorded_request_contains_the_token(workspace, session):
    session.query("my-chat", QUESTION)

    assert workspace.token not in repr(workspace.requests)


def test_a_body_that_is_not_json_is_recorded_as_none(workspace, session):
    session.post("/serving-endpoints/my-chat/invocations", data=b"{nonsense")

    assert workspace.requests[0].body is None


def test_the_list_of_requests_is_a_copy(workspace, session):
    session.query("my-chat", QUESTION)

    workspace.requests.clear()

    assert len(workspace.requests) == 1


def test_recorded_requests_can_be_cleared(workspace, session):
    session.query("my-chat", QUESTION)

    workspace.clear_requests()

    assert workspace.requests == []


@pytest.mark.parametrize("body", [b"[" * 200_000, b'{"a":' * 900 + b"1" + b"}" * 900])
def test_a_deeply_nested_body_is_an_error_of_the_client_on_each_route(workspace, session, body):
    workspace.add_endpoint("agent", lambda items: "hi", kind="responses")
    workspace.add_warehouse("wh")
    application = workspace._server._loop._server.application
    rules = [rule for rule in application.url_map.iter_rules() if "POST" in rule.methods]
    assert len(rules) > 10
    for rule in rules:
        path = str(rule)
        for parameter in rule.arguments:
            path = re.sub(rf"<[^<>]*\b{parameter}>", "1", path)
        answer = session.post(path, data=body)
        assert 400 <= answer.status_code < 500 or answer.status_code == 502, (path, answer.text)
