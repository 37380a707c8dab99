"""Text completions: prompts to OpenAI's JSON and back.

Protocol: OpenAI's "Completions" API, as Databricks' completion endpoints speak it
(``llm/v1/completions``).
"""

from __future__ import annotations

from typing import Any

from langchain_core.outputs import Generation

from langchain_dbx_eval.wire.shape import expect_dict, expect_list, expect_text, wrong_shape

__all__ = ["decode"]


def decode(payload: Any) -> list[Generation]:
    """Read the answer to one prompt.

    Args:
        payload: The decoded JSON.

    Returns:
        One generation a choice, in the order of the choices.

    Raises:
        InvalidResponseError: The payload is not a text completion.
    """
    choices = expect_list(expect_dict(payload), "choices")
    if not choices:
        raise wrong_shape("at least one of 'choices'", payload)
    return [_decode_choice(expect_dict(choice, "objects in 'choices'")) for choice in choices]


def _decode_choice(choice: dict[str, Any]) -> Generation:
    return Generation(
        text=expect_text(choice, "text"),
        generation_info={"finish_reason": choice.get("finish_reason")},
    )
