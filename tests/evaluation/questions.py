"""The dataset of the tests in this folder."""

NAME = "main.default.questions"
RECORDS = [
    {
        "request_id": f"r{n}",
        "request": f"question {n}",
        "expected_response": f"answer {n}",
        "expected_retrieved_context": [{"doc_uri": f"{n}.md"}, {"doc_uri": "never.md"}],
    }
    for n in range(6)
]
