"""Runs evaluations in processes that can be killed, without importing MLflow for each of them.

A program that has imported everything forks a child for each evaluation: ``python nursery.py``. It
reads a JSON object a line (``rows``, ``resume``, ``concurrency``, and the environment that the
child is to have), forks, and answers with the child's ``pid``; then with how it ``ended``. The
child says in between what came out, if it comes so far.
"""

# ruff: noqa: T201 - the other side reads what is printed

from __future__ import annotations

import json
import os
import sys

from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate

from langchain_dbx_eval import ChatDatabricks, evaluate
from langchain_dbx_eval.scoring import PromptJudge


def records(count: int) -> list[dict[str, str]]:
    return [
        {"request_id": f"r{n}", "request": f"question {n}", "expected_response": f"answer {n}"}
        for n in range(count)
    ]


def run(order: dict) -> None:
    chain = (
        ChatPromptTemplate.from_template("{question}")
        | ChatDatabricks(model="chat", temperature=0.0)
        | StrOutputParser()
    )
    result = evaluate(
        chain,
        records(order["rows"]),
        input_fn=lambda question: {"question": question},
        scorers=[PromptJudge("good", "Is {response} good? {request}")],
        judge=ChatDatabricks(model="judge", temperature=0.0),
        evaluator_config={"databricks-agent": {"metrics": []}},
        max_concurrency=order["concurrency"],
        resume=order.get("resume"),
    )
    print(json.dumps({"run_id": result.run_id, "rows": len(result.rows)}), flush=True)


def main() -> None:
    # All that an evaluation imports on its way, so that the children have it.
    import mlflow.genai

    print("ready", flush=True)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            order = json.loads(line)
            os.environ.update(order["environment"])
            mlflow.set_tracking_uri(os.environ["MLFLOW_TRACKING_URI"])
            run(order)
            sys.exit(0)
        print(json.dumps({"pid": child}), flush=True)
        _, status = os.waitpid(child, 0)
        print(json.dumps({"ended": os.waitstatus_to_exitcode(status)}), flush=True)


if __name__ == "__main__":
    main()
