"""The model to evaluate: replace `answer` by yours."""

CAPITALS = {
    "France": "Paris",
    "Korea": "Seoul",
    "Kenya": "Nairobi",
    "Peru": "Cusco",
}  # one is wrong


def answer(model_input: dict[str, list[dict[str, str]]]) -> str:
    """Answer the last message of a conversation."""
    question = model_input["messages"][-1]["content"]
    for country, capital in CAPITALS.items():
        if country in question:
            return capital
    return "I don't know."
