"""Runs evaluations in processes that can be killed, without importing MLflow in each of them.

``python fork_server.py`` imports everything once, and forks a child for each evaluation. It reads
one JSON object per line (``rows``, ``resume``, ``concurrency``, and the environment of the child),
forks, and prints the child's ``pid``, then its exit code as ``exit_code``. A child that finishes
prints its result in between.
"""

# ruff: noqa: T201 - the parent process reads what is printed

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


def run(task: dict) -> None:
    chain = (
        ChatPromptTemplate.from_template("{question}")
        | ChatDatabricks(model="chat", temperature=0.0)
        | StrOutputParser()
    )
    result = evaluate(
        chain,
        records(task["rows"]),
        scorers=[PromptJudge("good", "Is {response} good? {request}")],
        judge=ChatDatabricks(model="judge", temperature=0.0),
        evaluator_config={"databricks-agent": {"metrics": []}},
        max_concurrency=task["concurrency"],
        resume=task.get("resume"),
        input_fn=lambda question: {"question": question},
    )
    print(json.dumps({"run_id": result.run_id, "rows": len(result.rows)}), flush=True)


def main() -> None:
    # Everything that an evaluation imports later, so that the children have it.
    import mlflow.genai

    print("ready", flush=True)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            task = json.loads(line)
            os.environ.update(task["environment"])
            mlflow.set_tracking_uri(os.environ["MLFLOW_TRACKING_URI"])
            run(task)
            sys.exit(0)
        print(json.dumps({"pid": child}), flush=True)
        _, status = os.waitpid(child, 0)
        print(json.dumps({"exit_code": os.waitstatus_to_exitcode(status)}), flush=True)


if __name__ == "__main__":
    main()
