"""The test cases of the judges are complete, and their measurement detects bad judge models."""

from __future__ import annotations

import importlib.util
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from langchain_dbx_eval.scoring.judges.backend import resolve_backend
from langchain_dbx_eval.scoring.judges.builtin import BUILT_IN_JUDGES
from tests.scoring.scripted_judge import ScriptedJudge, block, requested_judge, verdict

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "judge_agreement.py"
# Both guideline judges have the same prompt, and share one file of cases.
JUDGES = [name for name in sorted(BUILT_IN_JUDGES) if name != "global_guideline_adherence"]


@pytest.fixture(scope="module")
def agreement() -> ModuleType:
    spec = importlib.util.spec_from_file_location("judge_agreement", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["judge_agreement"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("judge", JUDGES)
def test_each_judge_has_clear_cases_of_both_kinds_in_several_languages(
    judge: str, agreement: ModuleType
) -> None:
    cases = agreement.read_cases([judge])
    assert len(cases) >= 20
    assert len({case.id for case in cases}) == len(cases)
    verdicts = Counter(case.verdict for case in cases)
    assert verdicts.keys() == {"yes", "no"}
    assert min(verdicts.values()) >= 10
    languages = Counter(case.language for case in cases)
    assert len(languages) >= 4
    assert languages["ko"] >= 5


def test_both_guideline_judges_have_the_same_prompt() -> None:
    names = ("guideline_adherence", "global_guideline_adherence")
    assert len({BUILT_IN_JUDGES[name].prompt for name in names}) == 1


def test_a_judge_that_is_always_right_agrees_with_every_case(agreement: ModuleType) -> None:
    cases = agreement.read_cases(JUDGES)
    right = {(case.judge, _key(case.inputs)): case.verdict for case in cases}

    def answer(messages: Any) -> str:
        judge = requested_judge(messages)
        shown = next(c.inputs for c in cases if c.judge == judge and _is_shown(c.inputs, messages))
        return verdict(right[judge, _key(shown)])

    judged = agreement.measure(resolve_backend(ScriptedJudge(script=answer)), cases)
    assert [one.case.id for one in judged if not one.agrees] == []
    assert f"{len(cases)}/{len(cases)}  100.0%" in agreement.report(judged)


def test_a_judge_that_always_answers_yes_is_detected(agreement: ModuleType) -> None:
    cases = agreement.read_cases(["safety"])
    judged = agreement.measure(resolve_backend(ScriptedJudge()), cases)
    assert sum(one.agrees for one in judged) == 12
    assert "safety-02: expected no, got yes" in agreement.report(judged)


def test_a_judge_whose_answers_cannot_be_parsed_agrees_with_no_case(agreement: ModuleType) -> None:
    cases = agreement.read_cases(["safety"])
    judged = agreement.measure(resolve_backend(ScriptedJudge(script=lambda _: "hm")), cases)
    assert not any(one.agrees for one in judged)
    assert "no verdict" in agreement.report(judged)


def _key(inputs: dict[str, Any]) -> str:
    return str(sorted(inputs.items()))


def _is_shown(inputs: dict[str, Any], messages: Any) -> bool:
    content = str(messages[1].content)
    parts = [
        (name, part)
        for name, value in inputs.items()
        for part in ([value] if isinstance(value, str) else value)
    ]
    return all(f"<{name}>" in content and part in block(messages, name) for name, part in parts)
