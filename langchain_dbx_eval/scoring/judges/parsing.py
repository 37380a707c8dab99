"""Reads a verdict from what a judge's model wrote, and never makes one up.

Models are told to write one JSON object. Small ones wrap it in prose or a code fence, think aloud
first, quote with the wrong quotes, or write ``Rating: yes``. What states one rating is read; what
states none, or two different ones, is not a verdict.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from langchain_dbx_eval.scoring.judges.scales import Scale

__all__ = ["Reading", "read_object", "read_text"]

_RATING_KEYS = ("rating", "verdict", "result")
_RATIONALE_KEYS = ("rationale", "reason", "reasoning", "explanation")
# Reasoning models think first, and weigh both answers while they do.
_THOUGHTS = re.compile(r"<(think|thinking|reasoning)>.*?</\1>", re.DOTALL | re.IGNORECASE)
_UNENDED_THOUGHTS = re.compile(r"<(think|thinking|reasoning)>.*", re.DOTALL | re.IGNORECASE)
_DECORATION = " \t\"'`*_\u201c\u201d\u2018\u2019"
# "rating": yes, **Rating**: "no", rating = 4 (to the end of its line, or to a comma or brace).
_LINE = re.compile(
    r"^[^\w\n]*(rating|verdict|result)[\"'`*_ \t]*[:=\uff1a](?P<value>[^,;}\n]*)"
    r"(?P<end>[,;}\n]|\Z)",
    re.IGNORECASE | re.MULTILINE,
)
# The same anywhere, for an answer whose JSON is broken.
_LOOSE = re.compile(
    r"(?:rating|verdict|result)[\"'`*_ \t]*[:=\uff1a]\s*[\"'`*_]*(?P<value>[\w.+-]+)", re.IGNORECASE
)
_REASON_LINE = re.compile(
    r"^[^\w\n]*(?:rationale|reason|reasoning|explanation)[\"'`*_ \t]*[:=\uff1a](?P<value>.*)$",
    re.IGNORECASE | re.MULTILINE,
)
_MOST_NESTED = 20


class Reading(NamedTuple):
    """A verdict that was read.

    Attributes:
        value: The rating, on the judge's scale.
        rationale: Why, where it says why.
    """

    value: str | float
    rationale: str | None


def read_object(answer: Any, scale: Scale) -> Reading | None:
    """Read the object that a structured answer is.

    Args:
        answer: The parsed answer.
        scale: What the judge may answer.

    Returns:
        The verdict; None where the object states none, or several different ones.
    """
    stated = [
        (value, found)
        for found in _objects(answer)
        for key, raw in found.items()
        if (name := str(key).lower()) in _RATING_KEYS
        # The other keys may as well hold something else than the rating.
        if (value := scale.read(raw)) is not None or name == "rating"
    ]
    values = {value for value, _ in stated}
    if len(values) != 1 or (value := values.pop()) is None:
        return None
    return Reading(value, _writable(_rationale(stated[0][1])))


def read_text(text: str, scale: Scale) -> Reading | None:
    """Read what a model wrote.

    Args:
        text: All of it.
        scale: What the judge may answer.

    Returns:
        The verdict; None where the text states none, or several different ones.
    """
    text = _UNENDED_THOUGHTS.sub("", _THOUGHTS.sub("", text)).strip()
    objects, whole = _json_objects(text)
    if not any(_states_a_rating(found) for found in objects):
        return _read_lines(text, scale) or _read_bare(text, scale)
    reading = read_object(objects, scale)
    if reading is None or whole:
        return reading
    # An object within a broken one may be a quotation: all that the text states must agree with it.
    loose = {scale.read(stated["value"].strip("_.")) for stated in _LOOSE.finditer(text)}
    return reading if loose == {reading.value} else None


def _read_lines(text: str, scale: Scale) -> Reading | None:
    lines = list(_LINE.finditer(text))
    stated = [scale.read(line["value"].strip(_DECORATION + ".")) for line in lines]
    if not stated or None in stated or len(set(stated)) != 1:
        return None
    if len(lines) != len(_LOOSE.findall(text)):
        return None  # another rating stands within a line
    if lines[-1]["end"] == "" and not _ends_whole(text, lines[-1]["value"]):
        return None
    reason = _REASON_LINE.search(text)
    told = reason["value"].strip().rstrip(",").strip(_DECORATION) if reason else text
    return Reading(stated[0], _writable(told) or None)  # type: ignore[arg-type]


def _ends_whole(text: str, value: str) -> bool:
    """Whether the text's last value is whole: an object that was cut off may have said more."""
    quoted = value.strip()
    inside_object = text.count("{") > text.count("}")
    return not inside_object or (len(quoted) > 1 and quoted[0] == quoted[-1] in "\"'")


def _read_bare(text: str, scale: Scale) -> Reading | None:
    value = scale.read(text.strip(_DECORATION + ".!\n"))
    return None if value is None else Reading(value, None)


def _states_a_rating(found: Any) -> bool:
    return any(str(key).lower() in _RATING_KEYS for one in _objects(found) for key in one)


def _rationale(found: dict[Any, Any]) -> str | None:
    named = {str(key).lower(): value for key, value in found.items()}
    told = next((named[key] for key in _RATIONALE_KEYS if named.get(key)), None)
    return told if told is None or isinstance(told, str) else json.dumps(told, default=str)


def _objects(value: Any, depth: int = 0) -> Iterator[dict[Any, Any]]:
    """Every object within a value, itself included."""
    if depth > _MOST_NESTED:
        return
    if isinstance(value, dict):
        yield value
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for item in inner:
        yield from _objects(item, depth + 1)


def _writable(text: str | None) -> str | None:
    """The text without lone surrogates: JSON may hold them, but no store takes them."""
    return text if text is None else text.encode("utf-8", "replace").decode()


def _json_objects(text: str) -> tuple[list[Any], bool]:
    """The objects in a text, from left to right; and whether each ``{`` outside them opens one."""
    # Models put line breaks into their strings.
    decoder = json.JSONDecoder(strict=False, object_pairs_hook=_without_contradiction)
    objects: list[Any] = []
    whole = True
    at = text.find("{")
    while at >= 0:
        try:
            found, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            found, end = _python_object(text, at)
        if found is None:
            whole = False
        else:
            objects.append(found)
        at = text.find("{", end)
    return objects, whole


def _without_contradiction(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object's keys and values; one that says two things under one key is not an object."""
    found = dict(pairs)
    if any(found[key] != value for key, value in pairs):
        raise ValueError(f"{pairs} holds a key twice")
    return found


def _python_object(text: str, at: int) -> tuple[dict[Any, Any] | None, int]:
    """An object written as Python's dict, as models that quote with ``'`` do."""
    end = text.find("}", at) + 1
    try:
        tree = ast.parse(text[at:end], mode="eval").body
        if not isinstance(tree, ast.Dict):
            return None, at + 1
        keys = [ast.literal_eval(key) for key in tree.keys if key is not None]
        values = [ast.literal_eval(value) for value in tree.values]
        return _without_contradiction(list(zip(keys, values, strict=True))), end
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return None, at + 1
