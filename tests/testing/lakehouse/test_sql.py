"""The emulated SQL warehouses, statements and tables, tested through the REST API."""

from __future__ import annotations

import pyarrow as pa
import pytest
import requests

from langchain_dbx_eval.errors import AlreadyExistsError, ConfigurationError
from langchain_dbx_eval.testing.faults import FailedStatement, SlowStatement

STATEMENTS = "/api/2.0/sql/statements"


@pytest.fixture(autouse=True)
def table(workspace):
    workspace.add_warehouse("wh", chunk_rows=2)
    workspace.add_table("main.default.t", [{"n": n} for n in range(5)])


def execute(session, statement: str, **body) -> dict:
    answer = session.post(
        STATEMENTS, json={"statement": statement, "warehouse_id": "wh", **body}, timeout=60
    )
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_an_inline_result_contains_strings(session):
    answer = execute(session, "SELECT n, NULL AS x FROM `main`.`default`.`t` WHERE n > 3")
    assert answer["status"] == {"state": "SUCCEEDED"}
    assert answer["result"]["data_array"] == [["4", None]]


def test_external_links_point_to_the_next_chunk(session):
    answer = execute(
        session,
        "SELECT n FROM main.default.t ORDER BY n",
        disposition="EXTERNAL_LINKS",
        format="ARROW_STREAM",
    )
    numbers, link = [], answer["result"]["external_links"][0]
    while True:
        content = requests.get(link["external_link"], timeout=60).content
        numbers += pa.ipc.open_stream(content).read_all()["n"].to_pylist()
        if "next_chunk_index" not in link:
            break
        path = f"{STATEMENTS}/{answer['statement_id']}/result/chunks/{link['next_chunk_index']}"
        link = session.get(path).json()["external_links"][0]
    assert numbers == [0, 1, 2, 3, 4]
    assert answer["manifest"]["total_chunk_count"] == 3


def test_a_download_with_an_authorization_header_is_rejected(session):
    answer = execute(
        session,
        "SELECT n FROM main.default.t",
        disposition="EXTERNAL_LINKS",
        format="ARROW_STREAM",
    )
    link = answer["result"]["external_links"][0]["external_link"]
    response = requests.get(link, headers={"Authorization": "Bearer x"}, timeout=60)
    assert response.status_code == 400


@pytest.mark.parametrize(
    ("statement", "sql_state"),
    [
        ("SELECT * FROM main.default.none", "42P01"),
        ("CREATE TABLE main.default.t (a STRING)", "42P07"),
        ("SELECT FROM WHERE", "42601"),
    ],
)
def test_a_failed_statement_has_status_200(session, statement, sql_state):
    status = execute(session, statement)["status"]
    assert (status["state"], status["sql_state"]) == ("FAILED", sql_state)
    assert status["error"]["message"]


def test_a_change_creates_a_version_that_can_be_queried(session):
    changed = execute(session, "UPDATE main.default.t SET n = n + 10 WHERE n = 4")
    assert changed["result"]["data_array"] == [["1"]]
    now = execute(session, "SELECT max(n) FROM main.default.t")
    before = execute(session, "SELECT max(n) FROM main.default.t VERSION AS OF 0")
    assert (now["result"]["data_array"], before["result"]["data_array"]) == ([["14"]], [["4"]])
    history = execute(session, "DESCRIBE HISTORY main.default.t LIMIT 1")
    assert history["result"]["data_array"][0][0] == "1"


def test_a_statement_starts_a_stopped_warehouse(workspace, session):
    workspace.add_warehouse("stopped", state="STOPPED", start_seconds=None)
    first = execute(session, "SELECT 1", warehouse_id="stopped", wait_timeout="0s")
    assert first["status"]["state"] == "PENDING"
    assert session.get("/api/2.0/sql/warehouses/stopped").json()["state"] == "STARTING"
    workspace._state.lakehouse.warehouses["stopped"].start_seconds = 0.0
    second = execute(session, "SELECT 1", warehouse_id="stopped", wait_timeout="5s")
    assert second["status"]["state"] == "SUCCEEDED"


def test_a_canceled_statement_stays_canceled(workspace, session):
    workspace.inject_fault("wh", SlowStatement(60))
    running = execute(session, "SELECT 1", wait_timeout="0s")
    path = f"{STATEMENTS}/{running['statement_id']}"
    assert running["status"]["state"] == "RUNNING"
    session.post(f"{path}/cancel")
    assert session.get(path).json()["status"]["state"] == "CANCELED"


def test_a_fault_affects_one_statement(workspace, session):
    workspace.inject_fault("wh", FailedStatement("no", "22012"))
    states = [execute(session, "SELECT 1")["status"]["state"] for _ in range(2)]
    assert states == ["FAILED", "SUCCEEDED"]


def test_tables_are_described(session):
    described = session.get("/api/2.1/unity-catalog/tables/main.default.t").json()
    assert described["full_name"] == "main.default.t"
    assert described["columns"][0] == {"name": "n", "type_text": "bigint", "position": 0}
    assert session.get("/api/2.1/unity-catalog/tables/main.default.none").status_code == 404


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("get", "/api/2.0/sql/warehouses/none"),
        ("get", f"{STATEMENTS}/none"),
        ("post", f"{STATEMENTS}/none/cancel"),
        ("get", "/local-cloud-storage/none"),
    ],
)
def test_an_unknown_id_is_404(session, method, path):
    headers = {"Authorization": None} if "cloud" in path else {}
    assert session.request(method, path, headers=headers).status_code == 404


def test_the_routes_of_the_lakehouse_require_the_token(workspace):
    for path in ("/api/2.0/sql/warehouses", "/api/2.1/unity-catalog/tables/main.default.t"):
        assert requests.get(workspace.url + path, timeout=60).status_code == 401


def test_invalid_tables_and_faults_are_errors(workspace):
    with pytest.raises(AlreadyExistsError):
        workspace.add_table("main.default.t", [{"n": 1}])
    with pytest.raises(ConfigurationError, match="none"):
        workspace.inject_fault("none", SlowStatement(1))
    with pytest.raises(ConfigurationError, match="at least one"):
        workspace.inject_fault("wh", SlowStatement(1), times=0)


@pytest.mark.parametrize(
    "statement",
    [
        "COPY (SELECT 1) TO '{file}'",
        "COPY main.default.t TO '{file}'",
        "ATTACH '{file}' AS other",
        "EXPORT DATABASE '{file}'",
        "CREATE TABLE main.default.copy AS SELECT * FROM read_csv('{secret}')",
        "SELECT * FROM read_csv('{secret}')",
        "SELECT * FROM read_text('{secret}')",
        "SELECT * FROM read_blob('{secret}')",
        "SELECT * FROM read_files('{secret}', format => 'parquet')",
        "SELECT * FROM read_files('/Volumes/main/default/v/../../../../{secret}')",
        "SELECT * FROM read_files()",
        "SELECT * FROM `{secret}`",
        "SELECT * FROM csv.`{secret}`",
        "SELECT content FROM query('FROM read_text(''{secret}'')')",
        "INSERT INTO main.default.t SELECT length(content) FROM read_text('{secret}')",
        "SET enable_external_access = true",
        "SET temp_directory = '{file}'",
        "INSTALL httpfs",
        "LOAD '{file}'",
    ],
)
def test_a_statement_cannot_read_or_write_files(workspace, session, tmp_path, statement):
    workspace.add_volume("main.default.v")
    (tmp_path / "secret.csv").write_text("a\nsecret\n")
    file, secret = tmp_path / "written", tmp_path / "secret.csv"
    answer = execute(session, statement.format(file=file, secret=secret))
    assert answer["status"]["state"] == "FAILED"
    assert not file.exists()
    assert execute(session, "SELECT count(*) FROM main.default.t")["result"]["data_array"] == [
        ["5"]
    ]
