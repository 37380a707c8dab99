"""Parsing of a judge model's answer, which never guesses a verdict.

The prompt requests one JSON object. Small models wrap it in prose or a code fence, write their
reasoning first, use the wrong quotes, or write ``Rating: yes``. An answer that states exactly one
rating is parsed; one that states none, or several different ones, has no verdict.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from langchain_dbx_eval.scoring.judges.scales import Scale

__all__ = ["ParsedVerdict", "parse_object", "parse_text"]

_RATING_KEYS = ("rating", "verdict", "result")
_RATIONALE_KEYS = ("rationale", "reason", "reasoning", "explanation")
# Reasoning models weigh both ratings before they answer.
_REASONING = re.compile(r"<(think|thinking|reasoning)>.*?</\1>", re.DOTALL | re.IGNORECASE)
_OPEN_REASONING = re.compile(r"<(think|thinking|reasoning)>.*", re.DOTALL | re.IGNORECASE)
_DECORATION = " \t\"'`*_\u201c\u201d\u2018\u2019"
# "rating": yes, **Rating**: "no", rating = 4 (to the end of its line, or to a comma or brace).
_RATING_LINE = re.compile(
    r"^[^\w\n]*(rating|verdict|result)[\"'`*_ \t]*[:=\uff1a](?P<value>[^,;}\n]*)"
    r"(?P<end>[,;}\n]|\Z)",
    re.IGNORECASE | re.MULTILINE,
)
# The same anywhere in a line, for answers with broken JSON.
_RATING_ANYWHERE = re.compile(
    r"(?:rating|verdict|result)[\"'`*_ \t]*[:=\uff1a]\s*[\"'`*_]*(?P<value>[\w.+-]+)", re.IGNORECASE
)
_RATIONALE_LINE = re.compile(
    r"^[^\w\n]*(?:rationale|reason|reasoning|explanation)[\"'`*_ \t]*[:=\uff1a](?P<value>.*)$",
    re.IGNORECASE | re.MULTILINE,
)
_MAX_DEPTH = 20


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
        answer: Decoded JSON: an object, or a list of objects.
        scale: The allowed ratings.

    Returns:
        The verdict; None if the object states no rating, or several different ones.
    """
    stated = [
        (value, found)
        for found in _objects(answer)
        for key, raw in found.items()
        if (name := str(key).lower()) in _RATING_KEYS
        # An invalid `rating` counts as stated; the other keys may contain something else.
        if (value := scale.parse(raw)) is not None or name == "rating"
    ]
    values = {value for value, _ in stated}
    if len(values) != 1 or (value := values.pop()) is None:
        return None
    return ParsedVerdict(value, _without_surrogates(_rationale(stated[0][1])))


def parse_text(text: str, scale: Scale) -> ParsedVerdict | None:
    """Parse an answer in text form.

    Args:
        text: The complete answer.
        scale: The allowed ratings.

    Returns:
        The verdict; None if the text states no rating, or several different ones.
    """
    text = _OPEN_REASONING.sub("", _REASONING.sub("", text)).strip()
    objects, all_valid = _json_objects(text)
    if not any(_has_rating_key(found) for found in objects):
        return _parse_lines(text, scale) or _parse_bare_rating(text, scale)
    verdict = parse_object(objects, scale)
    if verdict is None or all_valid:
        return verdict
    # An object within a broken one may be a quotation: accept it only if every rating agrees.
    ratings = {scale.parse(m["value"].strip("_.")) for m in _RATING_ANYWHERE.finditer(text)}
    return verdict if ratings == {verdict.value} else None


def _parse_lines(text: str, scale: Scale) -> ParsedVerdict | None:
    lines = list(_RATING_LINE.finditer(text))
    ratings = [scale.parse(line["value"].strip(_DECORATION + ".")) for line in lines]
    if not ratings or (rating := ratings[0]) is None or len(set(ratings)) != 1:
        return None
    if len(lines) != len(_RATING_ANYWHERE.findall(text)):
        return None  # a line contains another rating
    if lines[-1]["end"] == "" and _is_truncated(text, lines[-1]["value"]):
        return None
    match = _RATIONALE_LINE.search(text)
    rationale = match["value"].strip().rstrip(",").strip(_DECORATION) if match else text
    return ParsedVerdict(rating, _without_surrogates(rationale) or None)


def _is_truncated(text: str, last_value: str) -> bool:
    """Whether the text ends within an object and its last value may be incomplete."""
    value = last_value.strip()
    is_quoted = len(value) > 1 and value[0] == value[-1] in "\"'"
    return text.count("{") > text.count("}") and not is_quoted


def _parse_bare_rating(text: str, scale: Scale) -> ParsedVerdict | None:
    value = scale.parse(text.strip(_DECORATION + ".!\n"))
    return None if value is None else ParsedVerdict(value, None)


def _has_rating_key(found: Any) -> bool:
    return any(str(key).lower() in _RATING_KEYS for one in _objects(found) for key in one)


def _rationale(found: dict[Any, Any]) -> str | None:
    lowered = {str(key).lower(): value for key, value in found.items()}
    value = next((lowered[key] for key in _RATIONALE_KEYS if lowered.get(key)), None)
    return value if value is None or isinstance(value, str) else json.dumps(value, default=str)


def _objects(value: Any, depth: int = 0) -> Iterator[dict[Any, Any]]:
    """Yield every object within a value, itself included."""
    if depth > _MAX_DEPTH:
        return
    if isinstance(value, dict):
        yield value
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for item in inner:
        yield from _objects(item, depth + 1)


def _without_surrogates(text: str | None) -> str | None:
    # JSON may contain lone surrogates, which SQLite and MLflow reject.
    return text if text is None else text.encode("utf-8", "replace").decode()


def _json_objects(text: str) -> tuple[list[Any], bool]:
    """Return the objects in a text, and whether each ``{`` outside of them begins an object."""
    # Not strict: models write line breaks into strings.
    decoder = json.JSONDecoder(strict=False, object_pairs_hook=_unique_keys)
    objects: list[Any] = []
    all_valid = True
    start = text.find("{")
    while start >= 0:
        try:
            found, end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            found, end = _python_dict(text, start)
        if found is None:
            all_valid = False
        else:
            objects.append(found)
        start = text.find("{", end)
    return objects, all_valid


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object; raise ValueError if a key has two different values."""
    found = dict(pairs)
    if any(found[key] != value for key, value in pairs):
        raise ValueError(f"{pairs} has a key with two values")
    return found


def _python_dict(text: str, start: int) -> tuple[dict[Any, Any] | None, int]:
    """Parse a Python dict, as written by models that quote with ``'``."""
    end = text.find("}", start) + 1
    try:
        tree = ast.parse(text[start:end], mode="eval").body
        if not isinstance(tree, ast.Dict):
            return None, start + 1
        keys = [ast.literal_eval(key) for key in tree.keys if key is not None]
        values = [ast.literal_eval(value) for value in tree.values]
        return _unique_keys(list(zip(keys, values, strict=True))), end
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return None, start + 1
