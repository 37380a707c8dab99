"""Parsing of a judge model's answer, which never guesses a verdict.

Judges quote what they judge, and what they judge may contain a verdict of its own. So a verdict is
read in two places only, where a quotation cannot stand: in a final block between tags that contain
a nonce (see `prompt.verdict_tags`), which only the judge knows, or as a JSON object that is
the whole answer. Any other answer has no verdict, whatever it says.
"""

from __future__ import annotations

import ast
import json
import re
import threading
from contextlib import suppress
from typing import Any, NamedTuple

from langchain_dbx_eval.scoring.judges.prompt import verdict_tags
from langchain_dbx_eval.scoring.judges.scales import Scale

__all__ = ["ParsedVerdict", "parse_object", "parse_text"]

_RATING_KEYS = ("rating", "verdict", "result")
_RATIONALE_KEYS = ("rationale", "reason", "reasoning", "explanation")
# Reasoning models draft their verdict before they give it.
_REASONING = re.compile(r"\s*<(think|thinking|reasoning)>", re.IGNORECASE)
_FENCE = "```"
# A longer object is no verdict: it bounds the time and the memory of the JSON parser.
_MAX_CHARS = 50_000
_PARSE_RETRIES = 10
_parsing = threading.Lock()


class ParsedVerdict(NamedTuple):
    """A verdict that an answer states.

    Attributes:
        value: The rating, on the judge's scale.
        rationale: The explanation; None if there is none.
    """

    value: str | float
    rationale: str | None


def parse_object(answer: Any, scale: Scale) -> ParsedVerdict | None:
    """Parse a structured answer.

    Args:
        answer: Decoded JSON. Objects within it are not read: they may be quotations.
        scale: The allowed ratings.

    Returns:
        The verdict; None if the answer is not an object that states exactly one rating.
    """
    if not isinstance(answer, dict):
        return None
    lowered = [(str(key).strip().lower(), value) for key, value in answer.items()]
    stated = {
        value
        for key, raw in lowered
        if key in _RATING_KEYS
        # An invalid `rating` counts as stated; the other keys may contain something else.
        if (value := scale.parse(raw)) is not None or key == "rating"
    }
    if len(stated) != 1 or (value := stated.pop()) is None:
        return None
    return ParsedVerdict(value, _without_surrogates(_rationale(dict(lowered))))


def parse_text(text: str, scale: Scale, nonce: str) -> ParsedVerdict | None:
    """Parse an answer in text form, in time linear in its length.

    Args:
        text: The complete answer.
        scale: The allowed ratings.
        nonce: That of the request (`judge_messages`).

    Returns:
        The verdict; None if the text is not one JSON object (in a code fence or not), does not end
        with one block between the tags of the request, or the object states no rating.
    """
    answer = _whole_object(text)
    if answer is None and (block := _final_block(text, nonce)) is not None:
        answer = _whole_object(block)
    return parse_object(answer, scale)


def _final_block(text: str, nonce: str) -> str | None:
    """Return what is between the tags at the end of a text; None if they occur twice."""
    start_tag, end_tag = verdict_tags(nonce)
    text = text.rstrip(" \t\r\n`*")
    if not text.endswith(end_tag):
        return None
    before, found, block = text.removesuffix(end_tag).rpartition(start_tag)
    if reasoning := _REASONING.match(before):
        _, is_complete, before = before.rpartition(f"</{reasoning[1]}>")
        if not is_complete:
            return None
    return block if found and start_tag not in before else None


def _whole_object(text: str) -> dict[Any, Any] | None:
    """Return the object that a text consists of, without a code fence around it."""
    text = text.strip()
    if text.startswith(_FENCE) and text.endswith(_FENCE):
        language, brace, rest = text[len(_FENCE) : -len(_FENCE)].partition("{")
        text = "" if language.strip() and not language.strip().isalnum() else brace + rest.rstrip()
    if len(text) > _MAX_CHARS or not (text.startswith("{") and text.endswith("}")):
        return None
    try:
        # Not strict: models write line breaks into strings.
        found = json.loads(text, strict=False, object_pairs_hook=_unique_keys)
    except (ValueError, RecursionError):
        return _python_dict(text)
    return found if isinstance(found, dict) else None


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object; raise ValueError if a key has two different values."""
    found = dict(pairs)
    if any(found[key] != value for key, value in pairs):
        raise ValueError(f"{pairs} has a key with two values")
    return found


def _python_dict(text: str) -> dict[Any, Any] | None:
    """Parse a Python dict, as written by models that quote with ``'``."""
    try:
        tree = _python_expression(text)
        if not isinstance(tree, ast.Dict):
            return None
        keys = [ast.literal_eval(key) for key in tree.keys if key is not None]
        values = [ast.literal_eval(value) for value in tree.values]
        return _unique_keys(list(zip(keys, values, strict=True)))
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return None


def _python_expression(text: str) -> ast.expr:
    # Before 3.11.8, Python 3.11 raises SystemError if threads parse at the same moment: CPython's
    # issue 106905. The lock is for the judges, the repetition for other libraries that parse.
    with _parsing:
        for _ in range(_PARSE_RETRIES):
            with suppress(SystemError):
                return ast.parse(text, mode="eval").body
        return ast.parse(text, mode="eval").body


def _rationale(lowered: dict[str, Any]) -> str | None:
    value = next((lowered[key] for key in _RATIONALE_KEYS if lowered.get(key)), None)
    if value is None or isinstance(value, str):
        return value
    try:
        return json.dumps(value, default=str, skipkeys=True)
    except RecursionError:
        return None


def _without_surrogates(text: str | None) -> str | None:
    # JSON may contain lone surrogates, which SQLite and MLflow reject.
    return text if text is None else text.encode("utf-8", "replace").decode()
