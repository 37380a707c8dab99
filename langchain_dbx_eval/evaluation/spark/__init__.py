"""``evaluate(…, engine="spark")``: the loop of the local engine on each partition of a Spark job.

The rows of the dataset are divided into steps. A step is one Spark job: each task runs its rows
with the scheduler of the local engine, whose journal is a file on the machine of the task, and the
finished rows of all tasks are appended to the results table in one commit.

Modules:
    options: `SparkOptions`.
    session: the Spark session; without one, Sail in a process of its own.
    sail_server: that process.
    shipping: what a task needs, in a form that other machines can load.
    records: the rows of the dataset as a frame of records.
    storage: the results table and the rows that are missing in it.
    task: one task: its rows, its journal.
    pacing: the limiter of a task, which learns the rate that an endpoint allows.
    aggregation: the summary, computed in one task.
    run: the driver: steps, MLflow.
    result: `SparkEvaluationResult`.
"""

from langchain_dbx_eval.evaluation.spark.options import SparkOptions
from langchain_dbx_eval.evaluation.spark.result import ResultsTable, SparkEvaluationResult
from langchain_dbx_eval.evaluation.spark.run import SparkEvaluation, evaluate_on_spark

__all__ = [
    "ResultsTable",
    "SparkEvaluation",
    "SparkEvaluationResult",
    "SparkOptions",
    "evaluate_on_spark",
]
