"""Coverage-guided random input for the parsers of streams and records: `make fuzz-atheris`.

    python -m tests.fuzz.coverage_guided events -max_total_time=600

The first argument names the parser, the others are those of libFuzzer. An input that raises
anything but a typed error ends the run and is written to a file, whose path is printed; that path
as an argument repeats it.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["langchain_dbx_eval"]):
    from langchain_dbx_eval._internal.sse import EventDecoder
    from langchain_dbx_eval.datasets import EvalRecord
    from langchain_dbx_eval.datasets.base import LoadOptions
    from langchain_dbx_eval.datasets.schema.validation import InvalidRow, parse_rows
    from langchain_dbx_eval.datasets.sources.files import FileSource
    from langchain_dbx_eval.errors import DatabricksError, SchemaError
    from langchain_dbx_eval.wire.stream_reader import StreamReader
    from langchain_dbx_eval.wire.tasks import CHAT, RESPONSES, chat_codec

    # Here, since it imports the modules of the formats.
    _CODECS = [chat_codec(task) for task in (CHAT, RESPONSES, "agent/v2/chat")]

from tests.fuzz.test_responses import VALUES

_SUFFIXES = (".jsonl", ".json", ".csv", ".yaml")
_FOLDER = tempfile.TemporaryDirectory(prefix="dbx-eval-fuzz-")


def read_events(data: bytes) -> None:
    """Decode a stream: the pieces in which it arrives do not change its events or its answer."""
    if len(data) < 2:
        return
    codec, cut, body = _CODECS[data[0] % len(_CODECS)], data[1], data[2:]
    whole, pieces = EventDecoder(), EventDecoder()
    expected = whole.feed(body) + whole.finish()
    assert pieces.feed(body[:cut]) + pieces.feed(body[cut:]) + pieces.finish() == expected
    reader = StreamReader(codec.stream(), codec.decode, codec.recognize)
    with suppress(DatabricksError):
        reader.feed(body[:cut])
        reader.feed(body[cut:])
        reader.finish()


def read_records(data: bytes) -> None:
    """Parse the rows of a file: each is a record, which its row contains, or an error."""
    if not data:
        return
    path = Path(_FOLDER.name, "rows").with_suffix(_SUFFIXES[data[0] % len(_SUFFIXES)])
    path.write_bytes(data[1:])
    try:
        for row in parse_rows(FileSource.open(path, LoadOptions()).rows()):
            if isinstance(row, InvalidRow):
                assert isinstance(row.to_record(), EvalRecord)
            else:
                stored = row.to_row()
                assert repr(EvalRecord.from_row(stored).to_row()) == repr(stored)
    except SchemaError:  # the file as a whole cannot be read
        return


PARSERS = {
    "events": (read_events, ["data: ", "\n\n", *VALUES]),
    "records": (read_records, [field.name for field in dataclasses.fields(EvalRecord)]),
}

if __name__ == "__main__":
    parser, words = PARSERS[sys.argv.pop(1)]
    dictionary = Path(_FOLDER.name, "words")
    dictionary.write_text(
        "".join(f"{json.dumps(word)}\n" for word in words).replace("\\n", "\\x0A")
    )
    atheris.Setup([*sys.argv, f"-dict={dictionary}"], parser)
    atheris.Fuzz()
