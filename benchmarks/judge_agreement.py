"""Measure how often a judge model agrees with cases whose verdict is clear.

Run it for each candidate model, and compare the judges and the languages that you use.

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
from langchain_dbx_eval.scoring.judges.backend import resolve_backend
from langchain_dbx_eval.scoring.judges.builtin import BUILT_IN_JUDGES
from langchain_dbx_eval.scoring.judges.protocol import JudgeBackend, JudgeRequest, Verdict
from langchain_dbx_eval.scoring.statistics import wilson_interval

CASES = Path(__file__).parents[1] / "tests" / "scoring" / "judge_cases"
_HEADER = f"{{:28}} {'agrees':>14} {'95 %':>13} {'wrong yes':>9} {'wrong no':>8} {'no verdict':>10}"


@dataclass(frozen=True)
class Case:
    """Inputs of a judge, and the right verdict."""

    id: str
    judge: str
    language: str
    verdict: str
    inputs: dict[str, Any]


@dataclass(frozen=True)
class JudgedCase:
    """A case and the verdict of the judge model."""

    case: Case
    verdict: Verdict

    @property
    def agrees(self) -> bool:
        """Whether the verdict is right; no verdict is wrong."""
        return self.verdict.value == self.case.verdict


def read_cases(judges: Iterable[str], folder: Path = CASES) -> list[Case]:
    """Read the cases of these judges."""
    return [
        Case(judge=judge, **json.loads(line))
        for judge in judges
        for line in (folder / f"{judge}.jsonl").read_text(encoding="utf-8").splitlines()
    ]


def measure(backend: JudgeBackend, cases: list[Case]) -> list[JudgedCase]:
    """Judge all cases concurrently."""

    async def judge_all() -> list[Verdict]:
        requests = [JudgeRequest(BUILT_IN_JUDGES[case.judge], case.inputs) for case in cases]
        return await asyncio.gather(*map(backend.judge, requests))

    return [JudgedCase(*pair) for pair in zip(cases, event_loop.run(judge_all()), strict=True)]


def report(judged: list[JudgedCase]) -> str:
    """Return agreement by judge and by language with its 95 % interval, and all disagreements."""
    keys = [("judge", lambda j: j.case.judge), ("language", lambda j: j.case.language)]
    lines = []
    for title, key in keys:
        groups = {key(one): [] for one in judged}
        for one in judged:
            groups[key(one)].append(one)
        lines += [_HEADER.format(title), *(_line(name, group) for name, group in groups.items())]
        lines += [_line("all", judged), ""]
    for one in judged:
        if not one.agrees:
            found = one.verdict.value or f"no verdict ({one.verdict.error})"
            lines.append(f"{one.case.id}: expected {one.case.verdict}, got {found}")
    return "\n".join(lines)


def _line(name: str, judged: list[JudgedCase]) -> str:
    right, n = sum(one.agrees for one in judged), len(judged)
    low, high = wilson_interval(right, n)
    wrong = [one.verdict.value for one in judged if not one.agrees]
    share = f"{right}/{n} {right / n:7.1%}"
    interval = f"{low:.0%} - {high:.0%}"
    counts = f"{wrong.count('yes'):9} {wrong.count('no'):8} {wrong.count(None):10}"
    return f"{name:28} {share:>14} {interval:>13} {counts}"


def _backend(name: str) -> JudgeBackend:
    """Resolve the command-line argument: a value of ``judge=``, or ``module:attribute``."""
    module, _, attribute = name.partition(":")
    if attribute and not attribute.startswith("/"):
        sys.path.insert(0, "")
        found = getattr(importlib.import_module(module), attribute)
        # `ainvoke` distinguishes a chat model, which is callable too, from a factory.
        return resolve_backend(found if hasattr(found, "ainvoke") else found())
    return resolve_backend(name)


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
    usages = [one.verdict.usage for one in judged]
    prompt_tokens = sum(usage.input_tokens for usage in usages)
    completion_tokens = sum(usage.output_tokens for usage in usages)
    seconds = time.perf_counter() - started
    print(
        f"{len(cases)} cases in {seconds:.1f} s; {prompt_tokens} prompt tokens, "
        f"{completion_tokens} completion tokens"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
