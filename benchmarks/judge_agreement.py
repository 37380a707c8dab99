"""Measures how often a judge's model agrees with cases whose verdict is clear.

That is how to pick a judge: run it for each candidate, and look at the judges that you use, in the
languages that you use.

    python benchmarks/judge_agreement.py endpoints:/my-chat
    python benchmarks/judge_agreement.py my_package.models:chat --judges correctness safety

The cases are in ``tests/scoring/judge_cases``, written for this package.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langchain_dbx_eval._internal import event_loop
from langchain_dbx_eval.errors import DatabricksError
from langchain_dbx_eval.scoring.aggregates import wilson_interval
from langchain_dbx_eval.scoring.judges.backend import JudgeBackend, Verdict
from langchain_dbx_eval.scoring.judges.backend_resolver import judge_backend
from langchain_dbx_eval.scoring.judges.prompt import Question
from langchain_dbx_eval.scoring.judges.texts import JUDGE_PROMPTS

CASES = Path(__file__).parents[1] / "tests" / "scoring" / "judge_cases"
_HEAD = f"{{:28}} {'agrees':>14} {'95 %':>13} {'wrong yes':>9} {'wrong no':>8} {'unread':>6}"


@dataclass(frozen=True)
class Case:
    """A question with a clear answer."""

    id: str
    judge: str
    language: str
    verdict: str
    inputs: dict[str, Any]


@dataclass(frozen=True)
class Judged:
    """A case, and what the judge says."""

    case: Case
    said: Verdict

    @property
    def agrees(self) -> bool:
        """Whether the judge says what is right; no verdict is not right."""
        return self.said.value == self.case.verdict


def read_cases(judges: Iterable[str], folder: Path = CASES) -> list[Case]:
    """The cases of some judges."""
    return [
        Case(judge=judge, **json.loads(line))
        for judge in judges
        for line in (folder / f"{judge}.jsonl").read_text(encoding="utf-8").splitlines()
    ]


def measure(backend: JudgeBackend, cases: list[Case]) -> list[Judged]:
    """Ask the judge every case."""

    async def ask_all() -> list[Verdict]:
        questions = [Question(JUDGE_PROMPTS[case.judge], case.inputs) for case in cases]
        return await asyncio.gather(*map(backend.ask, questions))

    return [Judged(*pair) for pair in zip(cases, event_loop.run(ask_all()), strict=True)]


def report(judged: list[Judged]) -> str:
    """Agreement by judge and by language, with its 95 % interval, and each disagreement."""
    names = [("judge", lambda j: j.case.judge), ("language", lambda j: j.case.language)]
    lines = []
    for title, key in names:
        parts = {key(one): [] for one in judged}
        for one in judged:
            parts[key(one)].append(one)
        lines += [_HEAD.format(title), *(_line(name, part) for name, part in parts.items())]
        lines += [_line("all", judged), ""]
    for one in judged:
        if not one.agrees:
            told = one.said.value or f"no verdict ({one.said.error})"
            lines.append(f"{one.case.id}: should be {one.case.verdict}, is {told}")
    return "\n".join(lines)


def _line(name: str, judged: list[Judged]) -> str:
    right, n = sum(one.agrees for one in judged), len(judged)
    low, high = wilson_interval(right, n)
    wrong = [one.said.value for one in judged if not one.agrees]
    share = f"{right}/{n} {right / n:7.1%}"
    interval = f"{low:.0%} - {high:.0%}"
    counts = f"{wrong.count('yes'):9} {wrong.count('no'):8} {wrong.count(None):6}"
    return f"{name:28} {share:>14} {interval:>13} {counts}"


def _backend(name: str) -> JudgeBackend:
    """The judge of a command line: what `judge=` takes, or where a chat model is found."""
    module, _, attribute = name.partition(":")
    if attribute and not attribute.startswith("/"):
        sys.path.insert(0, "")
        found = getattr(importlib.import_module(module), attribute)
        # A chat model can be called too, so it is told by what it is.
        return judge_backend(found if hasattr(found, "ainvoke") else found())
    return judge_backend(name)


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "judge", help="endpoints:/NAME, an MLflow model URI, or package.module:CHAT_MODEL"
    )
    known = sorted(path.stem for path in CASES.glob("*.jsonl"))
    parser.add_argument("--judges", nargs="+", choices=known, default=known, metavar="NAME")
    options = parser.parse_args()
    cases = read_cases(options.judges)
    started = time.perf_counter()
    try:
        judged = measure(_backend(options.judge), cases)
    except DatabricksError as error:
        print(f"judge_agreement: {error}", file=sys.stderr)
        return 1
    print(report(judged))
    tokens = [(j.said.usage.input_tokens, j.said.usage.output_tokens) for j in judged]
    read, written = map(sum, zip(*tokens, strict=True))
    seconds = time.perf_counter() - started
    print(f"{len(cases)} cases in {seconds:.1f} s; {read} tokens read, {written} written")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
