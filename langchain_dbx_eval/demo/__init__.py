"""The shipped demonstration: a RAG chain over a handbook, evaluated end to end.

Modules:
    run: `run_demo`, which starts everything, evaluates the chain and prints the result.
    corpus: the handbook (``corpus/*.md``) and the questions (``questions.jsonl``).
    retriever: the baseline retriever and an improved one.
    answerer: the answering model behind the driver server.
    judge: the function that replaces a judge model.
"""
