"""LLM judges.

Modules:
    builtin: the built-in judges, one `JudgeSpec` each.
    spec: `JudgeSpec`, the definition of a judge.
    inputs: the inputs of judges, read from a row by name.
    scales: the allowed ratings.
    scorer: judges as scorers.
    protocol: request, verdict, and the interface of backends.
    backend: resolution of ``judge=``, and the reuse of verdicts.
    chat_backend: any LangChain chat model as judge model.
    mlflow_backend: MLflow's own judges.
    prompt: the conversation with a judge model.
    parsing: parsing of its answer.
    cache: verdicts stored on disk.
"""
