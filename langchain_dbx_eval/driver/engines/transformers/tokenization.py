"""Prompts to tokens, and tokens to text."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Sequence
from typing import Any

from jinja2 import TemplateError

from langchain_dbx_eval.driver.engines.base import GenerationRequest, Message
from langchain_dbx_eval.driver.engines.messages import text_messages
from langchain_dbx_eval.driver.errors import invalid

__all__ = ["Detokenizer", "PromptEncoder"]


class PromptEncoder:
    """Encode prompts and conversations with a tokenizer of transformers.

    A special token (such as ``<|im_end|>``) in the text of a user is encoded as plain text: it
    cannot end the user's message and start another one.

    Args:
        tokenizer: The tokenizer of the model.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._special_tokens = {
            str(token)
            for token in [*tokenizer.all_special_tokens, *tokenizer.added_tokens_decoder.values()]
            if getattr(token, "special", True)
        }

    def encode(self, request: GenerationRequest) -> list[int]:
        """Encode the prompt or the conversation of a request.

        Returns:
            At least one token.

        Raises:
            RequestError: 400; the model has no chat template, its template rejects the messages,
                or the prompt is empty.
        """
        if request.messages:
            tokens = self._encode_chat(text_messages(request.messages))
        else:
            tokens = self._ids(request.prompt, add_special_tokens=True, split_special_tokens=True)
        if not tokens:
            raise invalid("The prompt is empty: this model needs at least one token.")
        return tokens

    def _encode_chat(self, messages: Sequence[Message]) -> list[int]:
        if self._tokenizer.chat_template is None:
            reason = "The model of this server has no chat template: send 'prompt' to / instead."
            raise invalid(reason)
        if not any(token in m["content"] for m in messages for token in self._special_tokens):
            return self._ids(self._render(messages))  # with the special tokens of the template
        # Render the template with placeholders, and insert the contents as tokens of plain text.
        placeholders = [f"text{secrets.token_hex(12)}" for _ in messages]
        rest = self._render(
            [{**m, "content": mark} for m, mark in zip(messages, placeholders, strict=True)]
        )
        tokens: list[int] = []
        for message, placeholder in zip(messages, placeholders, strict=True):
            before, found, after = rest.partition(placeholder)
            if not found:  # a template may omit a message
                continue
            tokens += self._ids(before)
            tokens += self._ids(message["content"], split_special_tokens=True)
            rest = after
        return tokens + self._ids(rest)

    def _render(self, messages: Sequence[Message]) -> str:
        try:
            text: str = self._tokenizer.apply_chat_template(
                list(messages), tokenize=False, add_generation_prompt=True
            )
        except TemplateError:
            message = (
                "The model's chat template rejects these messages: many templates require a user "
                "message first, and then assistant and user messages in turn."
            )
            raise invalid(message) from None
        return text

    def _ids(self, text: str, **options: bool) -> list[int]:
        # Neither truncation nor padding: a fast tokenizer stores both settings, and concurrent
        # threads would overwrite them (tokenizers 0.23).
        options = {"add_special_tokens": False, **options}
        ids: list[int] = self._tokenizer(text, verbose=False, **options)["input_ids"]
        return ids


class Detokenizer:
    """Convert the tokens of one completion to text incrementally.

    Args:
        tokenizer: A fast tokenizer of transformers.
        end_tokens: The tokens that end a completion; they have no text.
    """

    def __init__(self, tokenizer: Any, end_tokens: Collection[int] = ()) -> None:
        from tokenizers.decoders import DecodeStream

        self.end_tokens = end_tokens
        self._backend = tokenizer.backend_tokenizer
        self._stream = DecodeStream(skip_special_tokens=True)
        self._emitted = 0

    def feed(self, token: int) -> str:
        """Return the text that a token adds; empty while a character is incomplete."""
        text = self._stream.step(self._backend, token) or ""
        self._emitted += len(text)
        return text

    def finish(self, tokens: Sequence[int]) -> str:
        """Return the rest of the text of all tokens: a character that stayed incomplete."""
        text_tokens = [token for token in tokens if token not in self.end_tokens]
        text: str = self._backend.decode(text_tokens, skip_special_tokens=True)
        return text[self._emitted :]
