import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests


class App(BaseHTTPRequestHandler):
    """An app on the driver that returns the request it received, or streams."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        if self.path == "/events":
            return self.stream()
        if self.path == "/short":
            return self.close_early()
        length = int(self.headers.get("Content-Length") or 0)
        received = {
            "method": self.command,
            # Not self.path, in which http.server has merged leading slashes.
            "path": self.requestline.split()[1],
            "headers": {name.lower(): value for name, value in self.headers.items()},
            "body": self.rfile.read(length).decode(),
        }
        body = json.dumps(received).encode()
        self.send_response(201)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-App", "one")
        self.send_header("Set-Cookie", "a=1")
        self.send_header("Set-Cookie", "b=2")
        self.send_header("Keep-Alive", "timeout=5")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        return None

    do_GET = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_HEAD = do_POST  # noqa: N815

    def stream(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"d\r\ndata: first\n\n\r\n")
        self.server.resume.wait(60)
        self.wfile.write(b"e\r\ndata: second\n\n\r\n0\r\n\r\n")

    def close_early(self):
        self.send_response(200)
        self.send_header("Content-Length", "100")
        self.end_headers()
        self.wfile.write(b"short")
        self.close_connection = True

    def log_message(self, *args):
        pass


@pytest.fixture
def app():
    with ThreadingHTTPServer(("127.0.0.1", 0), App) as server:
        server.resume = threading.Event()
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.resume.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def base(app):
    return f"/driver-proxy-api/o/0/0000-000000-xxxxxxxx/{app.server_port}"


@pytest.fixture
def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        yield listener.getsockname()[1]


@pytest.mark.parametrize(
    ("path", "received"),
    [
        ("", "/"),
        ("/", "/"),
        ("/v1/chat/completions", "/v1/chat/completions"),
        ("/v1/", "/v1/"),
        ("//v1//x", "//v1//x"),
        ("/a%20b%2Fc?q=1%202&r", "/a%20b%2Fc?q=1%202&r"),
        ("?q=1", "/?q=1"),
    ],
)
def test_the_app_receives_its_path_and_query_as_the_client_encoded_them(
    session, base, path, received
):
    assert session.get(base + path).json()["path"] == received


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_any_method_is_forwarded_with_its_body(session, base, method):
    received = session.request(method, f"{base}/", data="body").json()

    assert (received["method"], received["body"]) == (method, "body")


def test_a_head_request_is_answered_without_a_body(session, base):
    answer = session.request("HEAD", f"{base}/")

    assert (answer.status_code, answer.content) == (201, b"")
    assert session.get(f"{base}/").status_code == 201


def test_the_apps_status_and_headers_come_back(session, base):
    answer = session.get(f"{base}/")

    assert (answer.status_code, answer.headers["X-App"]) == (201, "one")
    assert answer.raw.headers.getlist("Set-Cookie") == ["a=1", "b=2"]
    assert "Keep-Alive" not in answer.headers


def test_the_proxy_removes_token_and_cookies_and_forwards_the_apps_key(session, base):
    headers = {"Cookie": "session=1", "X-Api-Key": "key", "Connection": "X-Hop", "X-Hop": "1"}

    received = session.get(f"{base}/", headers=headers).json()["headers"]

    assert received["x-api-key"] == "key"
    assert not {"authorization", "cookie", "x-hop"} & set(received)


def test_any_organization_and_cluster_lead_to_this_machine(session, app):
    answer = session.get(f"/driver-proxy-api/o/1234567890/other-cluster/{app.server_port}/")

    assert answer.status_code == 201


def test_a_stream_arrives_as_the_app_sends_it(session, base, app):
    with session.post(f"{base}/events", stream=True, timeout=60) as answer:
        lines = (line for line in answer.iter_lines(chunk_size=1) if line)
        first = next(lines)
        app.resume.set()

        assert [first, *lines] == [b"data: first", b"data: second"]


def test_an_app_that_closes_the_connection_early_fails_the_clients_request(session, base, caplog):
    with pytest.raises(requests.RequestException):
        session.post(f"{base}/short")
    # A loaded machine may be slow to take the request from waitress's queue.
    assert [r.message for r in caplog.records if r.name != "waitress.queue"] == []


def test_a_port_where_nothing_listens_is_502_in_html(session, free_port):
    answer = session.post(f"/driver-proxy-api/o/0/c1/{free_port}/", json={"prompt": "a"})

    assert answer.status_code == 502
    assert answer.headers["Content-Type"].startswith("text/html")
    assert "502 Bad Gateway" in answer.text


@pytest.mark.parametrize("port", ["0", "65536", "http"])
def test_an_invalid_port_is_404(session, port):
    assert session.get(f"/driver-proxy-api/o/0/c1/{port}/").status_code == 404


def test_a_stopped_cluster_is_400_invalid_state_even_without_a_token(workspace):
    workspace.stop_cluster("c1")

    answer = requests.get(f"{workspace.url}/driver-proxy-api/o/0/c1/7777/", timeout=10)

    assert answer.status_code == 400
    assert answer.json() == {
        "error_code": "INVALID_STATE",
        "message": "Cluster c1 is in Terminated state",
    }


def test_stopping_a_cluster_does_not_affect_the_others(workspace, session, base):
    workspace.stop_cluster("c1")

    assert session.get(f"{base}/").status_code == 201
