"""Compute the cells of a comparison from answers and scores: metrics with intervals, tests, writing figures.

No model is needed. Shares over answers (loops, interventions, words) are sums over sums, so an answer counts
by its length.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

import numpy as np
import numpy.typing as npt

from blendin_local.compare.answers import Answer
from blendin_local.compare.arms import Arm
from blendin_local.compare.result import Cell, Interval, MeanLength, OptionScores, PairedTest, ScoreInterval
from blendin_local.compare.writing import TaskRun
from blendin_local.statistics import (
    bootstrap_interval,
    holm,
    mcnemar,
    paired_bootstrap,
    wilson,
)
from blendin_local.tasks.base import Score
from blendin_local.tune.result import GuideRank

__all__ = ["LOOP_WORDS", "Choices", "Results", "loop_counts", "mean_and_interval", "summarise"]

LOOP_WORDS = 4
"""Words of a run that counts as a loop if it occurred before in the same answer."""

RIGHT_OR_WRONG = (0.0, 1.0)
"""The scale of tasks whose answers can be counted."""

Choices = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]
"""float64[questions] twice: 1 if the right option was the likeliest, as a whole and per byte; NaN without
options.
"""


@dataclass(frozen=True, slots=True)
class Results:
    """Answers and scores by (arm, task, question), choices of options by (arm, task)."""

    answers: Mapping[tuple[str, str, str], Answer]
    scores: Mapping[tuple[str, str, str], Score]
    choices: Mapping[tuple[str, str], Choices]

    def answers_of(self, arm: Arm, run: TaskRun) -> list[Answer]:
        return [self.answers[arm.name, run.name, item.id] for item in run.items]

    def values_of(self, arm: Arm, run: TaskRun) -> list[float | None]:
        return [self.scores[arm.name, run.name, item.id].value for item in run.items]


def summarise(arms: Sequence[Arm], runs: Sequence[TaskRun], results: Results) -> tuple[Cell, ...]:
    """Compute a cell for every arm and task, with Holm's correction over all tests of the table."""
    cells = [_cell(arm, arms, run, results) for run in runs for arm in arms]
    adjusted = iter(holm([test.p for cell in cells for test in cell.tests]))
    return tuple(
        replace(
            cell,
            against={
                role: test and replace(test, p_holm=next(adjusted)) for role, test in cell.against.items()
            },
        )
        for cell in cells
    )


def _cell(arm: Arm, arms: Sequence[Arm], run: TaskRun, results: Results) -> Cell:
    values, answers = results.values_of(arm, run), results.answers_of(arm, run)
    known = [value for value in values if value is not None]
    value, interval = mean_and_interval(known, run.task.scale)
    return Cell(
        arm.name,
        run.name,
        n=len(values),
        scored=len(known),
        value=value,
        interval=interval,
        against=_against(arm, arms, run, results),
        **_writing(arm, answers),
        options=_options(results.choices.get((arm.name, run.name))),
        guide_rank=_guide_rank(answers),
    )


def mean_and_interval(
    values: Sequence[float], scale: tuple[float, float] = RIGHT_OR_WRONG
) -> tuple[float | None, Interval | None]:
    """Return the mean and its 95 % interval within the scale, None where unknown.

    The interval is Wilson's if answers are right or wrong, else bootstrapped.
    """
    if not values:
        return None, None
    found = wilson(sum(values), len(values)) if _is_binary(values, scale) else bootstrap_interval(values)
    return fmean(values), _clip_interval(found, *scale)


def _clip_interval(interval: Interval | None, low: float, high: float) -> Interval | None:
    return interval and (min(max(interval[0], low), high), min(max(interval[1], low), high))


def _is_binary(values: Iterable[float], scale: tuple[float, float]) -> bool:
    """Return whether values are successes and failures. On a judge's scale of 1 to 5 they are not, even if
    all 1.
    """
    return tuple(scale) == RIGHT_OR_WRONG and all(value in RIGHT_OR_WRONG for value in values)


# Against the models alone


def _against(arm: Arm, arms: Sequence[Arm], run: TaskRun, results: Results) -> dict[str, PairedTest | None]:
    """Test a pair against its base and its guide alone, and a single-model arm against the first such arm
    ("reference").
    """
    others = {role: arm.alone(role, arms) for role in ("base", "guide")}
    first = next((each for each in arms if each.kind == "model"), arm)
    if arm.kind == "model" and first is not arm:
        others["reference"] = first
    return {
        name: _paired_test(arm, other, run, results) if other is not None else None
        for name, other in others.items()
    }


def _paired_test(arm: Arm, other: Arm, run: TaskRun, results: Results) -> PairedTest | None:
    pairs = [
        (mine, theirs)
        for mine, theirs in zip(results.values_of(arm, run), results.values_of(other, run), strict=True)
        if mine is not None and theirs is not None
    ]
    if not pairs:
        return None
    mine, theirs = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    found = paired_bootstrap(mine, theirs)
    test, p = "sign flips", found.p
    widest = run.task.scale[1] - run.task.scale[0]
    if _is_binary([*mine, *theirs], run.task.scale):
        test = "McNemar"
        p = mcnemar(sum(a > b for a, b in pairs), sum(a < b for a, b in pairs))
    return PairedTest(
        other.name,
        difference=found.difference,
        interval=_clip_interval(found.interval, -widest, widest),
        p=p,
        p_holm=None,
        test=test,
    )


# How the answers were written


def _writing(arm: Arm, answers: Sequence[Answer]) -> dict[str, Any]:
    written = [answer for answer in answers if answer.timings]
    steps = _total(written, "steps")
    interventions = _total(written, "interventions")
    counts = Counter[str]()
    for answer in written:
        counts.update(answer.counts)
    alphas = [
        answer.summary["mean_alpha"] * answer.summary["interventions"]
        for answer in written
        if answer.summary["mean_alpha"] is not None and answer.summary["interventions"]
    ]
    loops = [loop_counts(answer.text) for answer in written]
    seconds = sum(answer.timings["total_s"] - answer.timings["first_token_s"] for answer in written)
    following = sum(max(0, answer.summary["steps"] - 1) for answer in written)
    asks = arm.is_pair
    return {
        "intervention_rate": _share(interventions, steps) if asks else None,
        "changed_rate": _share(counts["changed"], steps) if asks else None,
        "guide_word_rate": _share(counts["guide_words"], counts["words"]) if asks else None,
        "mean_alpha": _share(sum(alphas), interventions) if asks else None,
        "loop_share": _share(sum(repeated for repeated, _ in loops), sum(runs for _, runs in loops)),
        "length": MeanLength(
            _share(_total(written, "tokens"), len(written)),
            _share(sum(len(a.text.encode("utf-8", "replace")) for a in written), len(written)),
        ),
        "shortened": sum(1 for answer in answers if answer.counts.get("dropped_messages")),
        "finish_reasons": dict(Counter(answer.finish_reason for answer in answers).most_common()),
        "tokens_per_second": _share(following, seconds),
    }


def _total(answers: Iterable[Answer], name: str) -> int:
    return sum(answer.summary[name] for answer in answers)


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole > 0 else None


def loop_counts(text: str) -> tuple[int, int]:
    """Count the runs of four words that occurred before in the text, and all such runs."""
    words = re.findall(r"\S+", text)
    runs = [tuple(words[i : i + LOOP_WORDS]) for i in range(len(words) - LOOP_WORDS + 1)]
    return len(runs) - len(set(runs)), len(runs)


def _guide_rank(answers: Sequence[Answer]) -> GuideRank | None:
    """Summarize the rank of the guide's top token where the base was unsure; None if it never was."""
    ranks = [rank for answer in answers for rank in answer.ranks]
    masses = [mass for answer in answers for mass in answer.masses]
    return GuideRank.of(ranks, masses) if ranks else None


def _options(choices: Choices | None) -> OptionScores | None:
    if choices is None:
        return None
    whole, by_bytes = ([float(right) for right in each if not np.isnan(right)] for each in choices)
    if not whole:
        return None
    return OptionScores(*mean_and_interval(whole), ScoreInterval(*mean_and_interval(by_bytes)))
