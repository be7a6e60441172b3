"""Compute the paper's figures over several pairs.

Differences are on the metric's scale; differences to a model alone are over the questions for which both have
a score, as in the cells. Means over tasks are of differences as shares of a task's scale. Each pair
contributes one value to a statistic, however many arms it has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from blendin_local.compare.arms import Arm
from blendin_local.compare.result import (
    AcrossPairs,
    CapabilityGap,
    Cell,
    Families,
    FamilyGain,
    Gain,
    RateCorrelation,
)
from blendin_local.compare.writing import TaskRun
from blendin_local.models.families import family_of
from blendin_local.statistics import cohens_d, pearson

__all__ = ["across_pairs", "families"]

Cells = Mapping[tuple[str, str], Cell]
"""Cells by arm and task."""


def families(arm: Arm) -> Families:
    """Return the families of an arm's models (`models.families`)."""
    base, guide = (family_of(model.header) if model else None for model in (arm.base, arm.guide))
    return Families(base, guide, base == guide or base is None or guide is None)


def across_pairs(arms: Sequence[Arm], runs: Sequence[TaskRun], cells: Sequence[Cell]) -> AcrossPairs | None:
    """Compute the figures over all pairs of a comparison; None for fewer than two pairs."""
    blends = [arm for arm in arms if arm.is_pair]
    pairs = list(dict.fromkeys(_pair_of(arm) for arm in blends))
    if len(pairs) < 2 or not runs:
        return None
    by_arm_and_task = {(cell.arm, cell.task): cell for cell in cells}
    gains = tuple(_gain(arm, run, by_arm_and_task) for run in runs for arm in blends)
    gaps = [(gain, _gap(arms, gain, by_arm_and_task)) for gain in gains]
    return AcrossPairs(
        len(pairs),
        tuple(found for run in runs for found in _interventions(blends, run, by_arm_and_task)),
        gains,
        tuple(
            CapabilityGap(gain.arm, gain.task, gap, gain.over_base) for gain, gap in gaps if gap is not None
        ),
        _family(blends, runs, gains),
    )


def _pair_of(arm: Arm) -> tuple[str, ...]:
    return tuple(model.sha256 for model in arm.models)


def _interventions(blends: Sequence[Arm], run: TaskRun, cells: Cells) -> list[RateCorrelation]:
    """Correlate intervention rate and metric over pairs, for each method; of a pair's arms of one method
    the first counts.
    """
    found = []
    for method in dict.fromkeys(arm.method for arm in blends):
        first = {_pair_of(arm): arm for arm in reversed(blends) if arm.method == method}
        points = [
            (cell.intervention_rate, cell.value)
            for arm in first.values()
            if (cell := cells[arm.name, run.name]).value is not None and cell.intervention_rate is not None
        ]
        if len(points) < 2:
            continue
        correlation = pearson([x for x, _ in points], [y for _, y in points])
        found.append(RateCorrelation(run.name, method, correlation.r, correlation.p, correlation.n))
    return found


def _gain(arm: Arm, run: TaskRun, cells: Cells) -> Gain:
    """Return the differences of an arm to each of its models alone."""
    cell = cells[arm.name, run.name]
    return Gain(arm.name, run.name, cell.difference_to("base"), cell.difference_to("guide"))


def _gap(arms: Sequence[Arm], gain: Gain, cells: Cells) -> float | None:
    """Return the score of an arm's guide alone minus that of its base alone."""
    arm = next(arm for arm in arms if arm.name == gain.arm)
    base, guide = (
        cells[other.name, gain.task].value if (other := arm.alone(role, arms)) else None
        for role in ("base", "guide")
    )
    return None if base is None or guide is None else guide - base


def _family(blends: Sequence[Arm], runs: Sequence[TaskRun], gains: Sequence[Gain]) -> FamilyGain | None:
    """Compute gains over the base of pairs within one family and across two.

    Each pair counts with one value, the mean over its arms and tasks. None unless there are pairs of both
    kinds.
    """
    widths = {run.name: run.task.scale[1] - run.task.scale[0] for run in runs}
    arms = {arm.name: arm for arm in blends}
    by_pair: dict[tuple[str, ...], list[float]] = {}
    same: dict[tuple[str, ...], bool] = {}
    for gain in gains:
        arm = arms[gain.arm]
        same[_pair_of(arm)] = families(arm).same
        if gain.over_base is not None:
            by_pair.setdefault(_pair_of(arm), []).append(gain.over_base / widths[gain.task])
    within, cross = (
        [fmean(found) for pair, found in by_pair.items() if same[pair] is kind] for kind in (True, False)
    )
    if not within or not cross:
        return None
    return FamilyGain(fmean(within), fmean(cross), cohens_d(within, cross), len(within), len(cross))
