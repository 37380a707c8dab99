"""From text and messages to the tokens that a model is given."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

from jinja2 import TemplateError

from langchain_dbx_eval.driver.engines.base import GenerationRequest, Message
from langchain_dbx_eval.driver.engines.messages import text_messages
from langchain_dbx_eval.driver.errors import invalid

__all__ = ["PromptEncoder"]


class PromptEncoder:
    """Encodes prompts with a tokenizer of transformers.

    Text of a user that spells a special token (such as ``<|im_end|>``) stays text: it cannot end
    its own message and begin another's.

    Args:
        tokenizer: The model's.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._special = {
            str(token)
            for token in [*tokenizer.all_special_tokens, *tokenizer.added_tokens_decoder.values()]
            if getattr(token, "special", True)
        }

    def encode(self, request: GenerationRequest) -> list[int]:
        """Encode the prompt or the conversation of a request.

        Returns:
            At least one token.

        Raises:
            RequestError: 400; the model has no chat template, its template refuses the messages,
                or the prompt is empty.
        """
        if request.messages:
            tokens = self._chat(text_messages(request.messages))
        else:
            tokens = self._plain(request.prompt, whole=True)
        if not tokens:
            raise invalid("The prompt is empty, and this model needs something to go on from.")
        return tokens

    def _chat(self, messages: Sequence[Message]) -> list[int]:
        if self._tokenizer.chat_template is None:
            reason = "The model of this server has no chat template: send 'prompt' to / instead."
            raise invalid(reason)
        if not any(special in m["content"] for m in messages for special in self._special):
            return self._template(self._rendered(messages))
        # Each content is left out of the template, and put back as tokens of plain text.
        marks = [f"text{secrets.token_hex(12)}" for _ in messages]
        marked = [{**m, "content": mark} for m, mark in zip(messages, marks, strict=True)]
        tokens: list[int] = []
        rest = self._rendered(marked)
        for message, mark in zip(messages, marks, strict=True):
            before, found, after = rest.partition(mark)
            if not found:  # a template may leave a message out
                continue
            tokens += self._template(before) + self._plain(message["content"], whole=False)
            rest = after
        return tokens + self._template(rest)

    def _rendered(self, messages: Sequence[Message]) -> str:
        try:
            text: str = self._tokenizer.apply_chat_template(
                list(messages), tokenize=False, add_generation_prompt=True
            )
        except TemplateError:
            message = (
                "The model's chat template refuses these messages: many want a user's first, and "
                "then an assistant's and a user's in turn."
            )
            raise invalid(message) from None
        return text

    def _template(self, text: str) -> list[int]:
        # Templates write the special tokens out themselves.
        return self._ids(text, add_special_tokens=False)

    def _plain(self, text: str, *, whole: bool) -> list[int]:
        return self._ids(text, add_special_tokens=whole, split_special_tokens=True)

    def _ids(self, text: str, **how: bool) -> list[int]:
        # Neither truncation nor padding: a fast tokenizer keeps both as state, which two threads
        # would change under each other (tokenizers 0.23).
        ids: list[int] = self._tokenizer(text, verbose=False, **how)["input_ids"]
        return ids
