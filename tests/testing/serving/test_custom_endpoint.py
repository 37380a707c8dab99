import pytest

from langchain_dbx_eval.driver.engines.base import Generation, GenerationRequest


class Shouting:
    parameters = frozenset({"mark"})

    def generate(self, request: GenerationRequest) -> Generation:
        mark = request.params.get("mark", "!")
        return Generation(f"{request.prompt.upper()}{mark} stop={list(request.stop)}")


@pytest.fixture(autouse=True)
def dolly(workspace):
    def reply(prompt: str, stop: list[str] | None = None, temperature: float = 0.0) -> str:
        return f"{prompt} {stop} {temperature}"

    workspace.add_endpoint("dolly", reply, kind="custom")


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_records": [{"prompt": "a"}, {"prompt": "b"}]},
        {"dataframe_split": {"columns": ["prompt"], "data": [["a"], ["b"]]}},
        {"dataframe_split": {"index": [0, 1], "columns": ["prompt"], "data": [["a"], ["b"]]}},
        {"instances": ["a", "b"]},
        {"instances": [{"prompt": "a"}, {"prompt": "b"}]},
        {"inputs": ["a", "b"]},
        {"inputs": {"prompt": ["a", "b"]}},
    ],
)
def test_every_input_format_gives_one_prediction_per_record(session, body):
    answer = session.query("dolly", body)

    assert answer.json() == {"predictions": ["a None 0.0", "b None 0.0"]}


@pytest.mark.parametrize("inputs", ["a", {"prompt": "a"}])
def test_inputs_may_be_a_single_record(session, inputs):
    assert session.query("dolly", {"inputs": inputs}).json() == {"predictions": ["a None 0.0"]}


def test_no_records_give_no_predictions(session):
    assert session.query("dolly", {"dataframe_records": []}).json() == {"predictions": []}


def test_the_other_fields_of_a_record_are_parameters(session):
    record = {"prompt": "a", "stop": ["."], "temperature": 0.5}

    answer = session.query("dolly", {"dataframe_records": [record]})

    assert answer.json() == {"predictions": ["a ['.'] 0.5"]}


def test_params_are_the_defaults_of_every_record(session):
    records = [{"prompt": "a"}, {"prompt": "b", "temperature": 0.9}]

    answer = session.query("dolly", {"dataframe_records": records, "params": {"temperature": 0.1}})

    assert answer.json() == {"predictions": ["a None 0.1", "b None 0.9"]}


def test_a_function_may_return_any_json(workspace, session):
    workspace.add_endpoint("dicts", lambda prompt: {"text": prompt, "scores": [1]}, kind="custom")

    answer = session.query("dicts", {"inputs": ["é"]})

    assert answer.json() == {"predictions": [{"text": "é", "scores": [1]}]}


def test_an_engine_answers_with_its_text(workspace, session):
    workspace.add_endpoint("engine", Shouting(), kind="custom")
    record = {"prompt": "a", "stop": "x", "mark": "?"}

    answer = session.query("engine", {"dataframe_records": [record]})

    assert answer.json() == {"predictions": ["A? stop=['x']"]}


@pytest.mark.parametrize("name", ["dolly", "engine"])
def test_a_parameter_that_the_model_does_not_accept_is_400_unknown_field(workspace, session, name):
    workspace.add_endpoint("engine", Shouting(), kind="custom")

    answer = session.query(name, {"dataframe_records": [{"prompt": "a", "top_k": 3}]})

    assert answer.status_code == 400
    assert 'unknown field "top_k"' in answer.json()["message"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"prompt": "a"},
        {"inputs": ["a"], "instances": ["a"]},
        {"dataframe_records": {"prompt": "a"}},
        {"dataframe_records": ["a"]},
        {"dataframe_split": {"columns": ["prompt"]}},
        {"dataframe_split": {"columns": ["prompt"], "data": [["a", "b"]]}},
        {"inputs": {"prompt": ["a", "b"], "stop": [None]}},
        {"dataframe_records": [{"text": "a"}]},
        {"dataframe_records": [{"prompt": 5}]},
        {"inputs": "a", "params": [1]},
        ["a"],
    ],
)
def test_a_malformed_request_is_400_bad_request(session, body):
    answer = session.query("dolly", body)

    assert (answer.status_code, answer.json()["error_code"]) == (400, "BAD_REQUEST")


@pytest.mark.parametrize("data", [b"", b"{nonsense", b"[" * 100_000])
def test_a_body_that_is_not_json_is_400(session, data):
    answer = session.post("/serving-endpoints/dolly/invocations", data=data)

    assert (answer.status_code, answer.json()["error_code"]) == (400, "BAD_REQUEST")


def test_an_exception_of_a_function_is_logged_and_answered_with_500_without_its_text(
    workspace, session, caplog
):
    def fail(prompt: str) -> str:
        msg = "the secret of the model"
        raise RuntimeError(msg)

    workspace.add_endpoint("broken", fail, kind="custom")

    answer = session.query("broken", {"inputs": "a"})

    assert (answer.status_code, answer.json()["error_code"]) == (500, "INTERNAL_ERROR")
    assert "secret" not in answer.text
    assert "the secret of the model" in caplog.text
