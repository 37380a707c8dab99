"""The code and the documentation use the standard terms of the field, and American spelling."""

from __future__ import annotations

import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "langchain_dbx_eval"

# Names of an earlier vocabulary, and their replacements. They may not occur anywhere.
REPLACED_NAMES = {
    r"join=": "match_fn=",
    r"failures_of_its_own": "internal_errors",
    r"when_full": "on_full",
    r"on_full=\"wait\"": 'on_full="block"',
    r"unwritten": "pending_rows",
    r"via=": "backend=",
    r"experiment=": "experiment_name=",
    r"@judge": "@scorer(affects_verdict=True)",
    r"EngineChoice": "EngineOptions",
    r"disturb": "inject_fault",
    r"write_template": "to_template",
    r"went_well": "on_success",
    r"hopeless": "exhausted",
    r"give_back": "release",
    r"go_on_with": "check_resumable",
    r"RowLoop": "RowScheduler",
    r"asked_of": "with_backend",
    r"at_hand": "is_static",
    r"refuse_to_wait": "ensure_off_loop",
    r"writers_turn": "table_lock",
    r"shown\(": "redact_uri",
    r"client\.Workspace": "Credentials",
    r"WrittenRow": "no such hop",
}

# Identifiers with another meaning than the word in prose.
REPLACED_IDENTIFIERS = {
    "Pace": "AdaptiveLimiter",
    "Place": "RowKey",
    "Said": "ScorerOutput",
    "Subject": "EvaluationManifest",
    "Asking": "ModelInvoker",
    "Reach": "LoadOptions",
    "Opened": "OpenDataset",
    "Growable": "SupportsMerge",
    "Facts": "DatasetInfo",
    "Carrier": "RowUploader",
    "Carried": "UploadedRows",
    "Ask": "ParsedRequest",
    "Takes": "Capabilities",
    "Narrowing": "SamplingFilters",
    "Spoiler": "ResponseFault",
    "Refusal": "ApiError",
    "Site": "WorkspaceState",
    "Piece": "Delta",
    "Call": "RequestContext",
    "Vectors": "EmbeddingResult",
    "trouble": "health",
    "silence": "read_timeout",
}

# Verbs of speech in identifiers: a function returns, raises, emits, invokes or notifies.
SPEECH = {"ask", "asks", "asked", "asking", "tell", "tells", "told", "telling", "hear", "hears"}
SPEECH |= {"heard", "hearing", "say", "says", "said", "saying"}

PHRASES = {
    "cannot be gone on with": "cannot be resumed",
    "goes on with it": "continue with …",
    "cannot judge": "is not a supported judge",
    "is no share of": "must be between 0 and 1",
    "form tells": "default: inferred from …",
    "ended before its end": "stopped without a finish reason",
    "go wrong, the next time": "inject a fault",
    "that it is asked too much": "retries on 429",
    "told of each": "called before each …",
    "sockets take for none": 'sockets treat 0 as "no timeout"',
    "whichever it came from": "base class of …",
    "told off": "start … within a deadline",
    "what some scorers said": "the results of these scorers",
    "stand still for ever": "this would deadlock",
    "that a warehouse is asked": "total timeout, including warehouse start-up",
    "is asked again": "is never re-invoked",
    "for as long as it takes": "no timeout",
    "who judges": "judge models",
    "who scores": "scorers",
    "see it all at work": "run an end-to-end demonstration",
    "stand in for": "replace",
    "stands in for": "replaces",
    "a stand-in": "a deterministic judge, an emulated model",
    "cannot be told from": "looks like",
    "is no path": "is not a path",
}

# `cancelled` is the spelling of Python's own API.
BRITISH = re.compile(
    r"\b\w*(?:"
    r"(?:normal|optim|serial|initial|summar|recogn|organ|synchron|custom|categor|token|quant|util"
    r"|minim|maxim|general|special|visual|real)is(?:e|es|ed|er|ers|ing|ation|ations)\b"
    r"|behaviour|colour|favour|neighbour|honour|labell|modell|analyse|artefact|catalogue|centre\b"
    r"|licence|judgement)\w*",
    re.IGNORECASE,
)

# The package names the thing. Tests and benchmarks have variables `ours` and `theirs`.
FIRST_PERSON = re.compile(r"\b(?:ours?|ourselves)\b", re.IGNORECASE)

GROUPS = {
    **{str(path.relative_to(ROOT)): path for path in PACKAGE.iterdir() if path.is_dir()},
    **{str(path.relative_to(ROOT)): path for path in (ROOT / "tests").iterdir() if path.is_dir()},
    **{str(path.relative_to(ROOT)): path for path in PACKAGE.glob("*.py")},
    **{str(path.relative_to(ROOT)): path for path in (ROOT / "tests").glob("*.py")},
    **{str(path.relative_to(ROOT)): path for path in (ROOT / "docs").glob("*.md")},
    **{str(path.relative_to(ROOT)): path for path in (ROOT / "docs").iterdir() if path.is_dir()},
    "examples": ROOT / "examples",
    "scripts": ROOT / "scripts",
    **{str(path.relative_to(ROOT)): path for path in ROOT.glob("*.md")},
    "benchmarks": ROOT / "benchmarks",
    "Makefile": ROOT / "Makefile",
}


def files_of(path: Path) -> Iterator[Path]:
    files = [path] if path.is_file() else sorted(path.rglob("*"))
    for file in files:
        if file.suffix in {".py", ".md", ".j2"} or file.name == "Makefile":
            yield file


def identifiers(file: Path) -> Iterator[tuple[int, str]]:
    """Yield the identifiers of a module, or those in backticks on a page."""
    if file.suffix == ".py":
        with tokenize.open(file) as source:
            for token in tokenize.generate_tokens(source.readline):
                if token.type == tokenize.NAME:
                    yield token.start[0], token.string
    else:
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
            for code in re.findall(r"`([^`]+)`", line):
                yield from ((number, name) for name in re.findall(r"[A-Za-z_]\w*", code))


def findings(file: Path) -> Iterator[str]:
    text = file.read_text(encoding="utf-8")

    def found(position: int, word: str, replacement: str) -> str:
        line = text.count("\n", 0, position) + 1
        return f"{file.relative_to(ROOT)}:{line}: {word!r}, use {replacement}"

    for name, replacement in REPLACED_NAMES.items():
        end = "" if name.endswith(("=", '"', "(")) else r"\b"
        for match in re.finditer(rf"(?<![\w.]){name}{end}", text):
            yield found(match.start(), match[0], replacement)
    for phrase, replacement in PHRASES.items():
        # A phrase may be wrapped in a comment.
        for match in re.finditer(r"[\s#]+".join(map(re.escape, phrase.split())), text, re.I):
            yield found(match.start(), " ".join(match[0].split()), replacement)
    for match in BRITISH.finditer(text):
        yield found(match.start(), match[0], "American spelling")
    if PACKAGE in file.parents:
        for match in FIRST_PERSON.finditer(text):
            yield found(match.start(), match[0], "the name of the thing")
    for line, name in identifiers(file):
        if name in REPLACED_IDENTIFIERS:
            replacement = REPLACED_IDENTIFIERS[name]
            yield f"{file.relative_to(ROOT)}:{line}: {name!r}, use {replacement}"
        elif SPEECH.intersection(name.lower().split("_")):
            yield f"{file.relative_to(ROOT)}:{line}: {name!r}, use a technical verb"


@pytest.mark.parametrize("group", GROUPS)
def test_only_standard_terms_are_used(group: str) -> None:
    own = Path(__file__)
    found = [one for file in files_of(GROUPS[group]) if file != own for one in findings(file)]
    assert not found, "\n".join(found)
