import json

import pytest
import requests

from langchain_dbx_eval.errors import ConfigurationError
from langchain_dbx_eval.testing import LocalWorkspace
from tests.polling import wait_until

QUESTION = {"messages": [{"role": "user", "content": "hello"}]}
STREAM = {**QUESTION, "stream": True}


@pytest.fixture(autouse=True)
def chat(workspace):
    workspace.add_endpoint("chat", lambda messages: "one two three", kind="chat")


def statuses(session, count: int) -> list[int]:
    return [session.query("chat", QUESTION).status_code for _ in range(count)]


def test_a_failure_affects_the_given_number_of_requests(workspace, session):
    workspace.fail("chat", status=503, times=2)

    assert statuses(session, 3) == [503, 503, 200]


def test_a_failure_with_times_none_affects_all_requests(workspace, session):
    workspace.fail("chat", status=500, times=None)

    assert statuses(session, 3) == [500, 500, 500]


def test_faults_are_injected_in_the_order_of_the_calls(workspace, session):
    workspace.fail("chat", status=503)
    workspace.break_body("chat")
    workspace.fail("chat", status=429)

    assert statuses(session, 4) == [503, 200, 429, 200]


def test_a_failure_has_databricks_error_code_and_retry_after(workspace, session):
    workspace.fail("chat", status=429, retry_after=1)

    answer = session.query("chat", QUESTION)

    assert answer.json()["error_code"] == "REQUEST_LIMIT_EXCEEDED"
    assert answer.headers["Retry-After"] == "1"


def test_a_failure_without_retry_after_has_no_such_header(workspace, session):
    workspace.fail("chat", status=429)

    assert "Retry-After" not in session.query("chat", QUESTION).headers


def test_a_failure_of_one_endpoint_does_not_affect_the_others(workspace, session):
    workspace.add_endpoint("other", lambda messages: "hi", kind="chat")
    workspace.fail("chat", status=500)

    assert session.query("other", QUESTION).status_code == 200
    assert session.query("chat", QUESTION).status_code == 500


def test_only_queries_consume_a_fault(workspace, session):
    workspace.fail("chat", status=500)

    assert session.get("/api/2.0/serving-endpoints/chat").status_code == 200
    assert session.get("/.well-known/databricks-config").status_code == 200
    assert session.query("chat", QUESTION).status_code == 500


def test_the_openai_path_has_the_same_faults(workspace, session):
    workspace.fail("chat", status=503)

    answer = session.post("/serving-endpoints/chat/completions", json={**QUESTION, "model": "chat"})

    assert answer.status_code == 503


def test_a_delay_exceeds_a_clients_timeout_and_affects_one_request(workspace, session):
    workspace.delay("chat", seconds=3600, times=1)

    with pytest.raises(requests.ReadTimeout):
        session.query("chat", QUESTION, timeout=(60, 0.05))
    wait_until(lambda: not workspace._state.faults._planned["chat"])
    assert session.query("chat", QUESTION).status_code == 200


def test_a_delay_and_a_failure_affect_the_same_request(workspace, session):
    workspace.delay("chat", seconds=0.001, times=1)
    workspace.fail("chat", status=503)

    assert statuses(session, 2) == [503, 200]


def test_a_broken_body_is_200_with_truncated_json(workspace, session):
    workspace.break_body("chat")

    broken, whole = session.query("chat", QUESTION), session.query("chat", QUESTION)

    assert (broken.status_code, broken.headers["Content-Type"]) == (200, "application/json")
    with pytest.raises(json.JSONDecodeError):
        json.loads(broken.text)
    assert whole.json()["choices"]


def test_a_broken_body_truncates_the_first_event_of_a_stream(workspace, session):
    workspace.break_body("chat")

    answer = session.query("chat", STREAM, stream=True)

    first, second, *_ = [line.removeprefix(b"data: ") for line in answer.iter_lines() if line]
    with pytest.raises(json.JSONDecodeError):
        json.loads(first)
    assert json.loads(second)["choices"]


@pytest.mark.parametrize("after", [0, 1, 2, 99])
def test_a_cut_stream_ends_after_the_given_number_of_events_without_done(workspace, session, after):
    workspace.cut_stream("chat", after=after)
    received = []

    def read() -> None:
        lines = session.query("chat", STREAM, stream=True).iter_lines(chunk_size=1)
        received.extend(line for line in lines if line)

    with pytest.raises(requests.RequestException):
        read()
    assert len(received) == min(after, 4)
    assert b"data: [DONE]" not in received


def test_a_cut_affects_the_next_request_that_streams(workspace, session):
    workspace.cut_stream("chat", after=1)

    assert session.query("chat", QUESTION).status_code == 200
    with pytest.raises(requests.RequestException):
        session.query("chat", STREAM)
    assert session.query("chat", STREAM).status_code == 200


def test_a_cut_stream_logs_nothing(workspace, session, caplog):
    caplog.set_level("INFO")
    workspace.cut_stream("chat", after=1)

    with pytest.raises(requests.RequestException):
        session.query("chat", STREAM)

    # A loaded machine may be slow to take the request from waitress's queue.
    assert [r.message for r in caplog.records if r.name != "waitress.queue"] == []


@pytest.mark.parametrize(
    "inject",
    [
        lambda workspace: workspace.fail("nope", status=500),
        lambda workspace: workspace.delay("nope", seconds=1),
        lambda workspace: workspace.break_body("nope"),
        lambda workspace: workspace.cut_stream("nope", after=1),
    ],
)
def test_a_fault_of_an_unknown_endpoint_is_an_error_that_lists_the_existing_ones(workspace, inject):
    workspace.add_endpoint("dolly", lambda prompt: prompt, kind="custom")

    with pytest.raises(ConfigurationError, match="'nope'; it has: chat, dolly"):
        inject(workspace)


@pytest.mark.parametrize(
    "inject",
    [
        lambda workspace: workspace.fail("chat", status=200),
        lambda workspace: workspace.fail("chat", status=500, times=0),
        lambda workspace: workspace.cut_stream("chat", after=-1),
    ],
)
def test_a_fault_with_an_invalid_argument_is_an_error(inject):
    workspace = LocalWorkspace()
    workspace.add_endpoint("chat", lambda messages: "hi", kind="chat")

    with pytest.raises(ConfigurationError):
        inject(workspace)
