"""Over several pairs: the paper's figures, from the user's own runs.

Differences are of the metric, on its own scale; those to a model alone are of the questions that both could
be scored on, as in the cells. Means over tasks are of differences as shares of a task's scale. Of each pair
one arm counts at a time, so that no pair is counted twice as evidence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from blendin_local.compare.arms import Arm
from blendin_local.compare.naming import family_of
from blendin_local.compare.writing import TaskRun
from blendin_local.statistics import cohens_d, pearson

__all__ = ["across_pairs", "families"]

Cell = Mapping[str, Any]


def families(arm: Arm) -> dict[str, Any]:
    """Families of an arm's models (see `naming.family_of`), and whether they are one."""
    base, guide = (family_of(model.header) if model else None for model in (arm.base, arm.guide))
    return {"base": base, "guide": guide, "same": base == guide or base is None or guide is None}


def across_pairs(
    arms: Sequence[Arm], runs: Sequence[TaskRun], cells: Sequence[Cell]
) -> dict[str, Any] | None:
    """Figures over all pairs of a comparison; None for fewer than two."""
    blends = [arm for arm in arms if arm.is_pair]
    pairs = list(dict.fromkeys(_pair_of(arm) for arm in blends))
    if len(pairs) < 2 or not runs:
        return None
    by_place = {(cell["arm"], cell["task"]): cell for cell in cells}
    gains = [_gain(arm, run, arms, by_place) for run in runs for arm in blends]
    return {
        "pairs": len(pairs),
        "intervention_vs_metric": [found for run in runs for found in _interventions(blends, run, by_place)],
        "gain": [{key: gain[key] for key in ("arm", "task", "over_base", "over_guide")} for gain in gains],
        "capability_gap": [
            {"arm": gain["arm"], "task": gain["task"], "gap": gain["gap"], "gain": gain["over_base"]}
            for gain in gains
            if gain["gap"] is not None
        ],
        "family": _family(blends, runs, gains),
    }


def _pair_of(arm: Arm) -> tuple[str, ...]:
    return tuple(model.sha256 for model in arm.models)


def _interventions(
    blends: Sequence[Arm], run: TaskRun, cells: Mapping[tuple[str, str], Cell]
) -> list[dict[str, Any]]:
    """Pearson's r of intervention rate and metric over pairs, for each method; of a pair's arms of one
    method the first counts.
    """
    found = []
    for method in dict.fromkeys(arm.method for arm in blends):
        first = {_pair_of(arm): arm for arm in reversed(blends) if arm.method == method}
        points = [
            (cell["intervention_rate"], cell["value"])
            for arm in first.values()
            if (cell := cells[arm.name, run.name])["value"] is not None
            and cell["intervention_rate"] is not None
        ]
        if len(points) < 2:
            continue
        correlation = pearson([x for x, _ in points], [y for _, y in points])
        found.append(
            {
                "task": run.name,
                "method": method,
                "r": correlation.r,
                "p": correlation.p,
                "n": correlation.n,
            }
        )
    return found


def _gain(
    arm: Arm, run: TaskRun, arms: Sequence[Arm], cells: Mapping[tuple[str, str], Cell]
) -> dict[str, Any]:
    """What an arm gains over each of its models alone, and the guide's lead over the base (the gap)."""
    against = cells[arm.name, run.name]["against"]
    alone = {}
    for role in ("base", "guide"):
        other = arm.alone(role, arms)
        alone[role] = cells[other.name, run.name]["value"] if other else None
    return {
        "arm": arm.name,
        "task": run.name,
        "over_base": (against.get("base") or {}).get("difference"),
        "over_guide": (against.get("guide") or {}).get("difference"),
        "gap": _difference(alone["guide"], alone["base"]),
    }


def _difference(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else first - second


def _family(
    blends: Sequence[Arm], runs: Sequence[TaskRun], gains: Sequence[Mapping[str, Any]]
) -> dict[str, Any] | None:
    """Gain over the base of pairs within one family against pairs across two; one value for each pair, the
    mean over its arms and tasks. None unless there are both kinds.
    """
    widths = {run.name: run.task.scale[1] - run.task.scale[0] for run in runs}
    arms = {arm.name: arm for arm in blends}
    by_pair: dict[tuple[str, ...], list[float]] = {}
    same: dict[tuple[str, ...], bool] = {}
    for gain in gains:
        arm = arms[gain["arm"]]
        same[_pair_of(arm)] = families(arm)["same"]
        if gain["over_base"] is not None:
            by_pair.setdefault(_pair_of(arm), []).append(gain["over_base"] / widths[gain["task"]])
    within, cross = (
        [fmean(found) for pair, found in by_pair.items() if same[pair] is kind] for kind in (True, False)
    )
    if not within or not cross:
        return None
    return {
        "within_mean": fmean(within),
        "cross_mean": fmean(cross),
        "cohens_d": cohens_d(within, cross),
        "n_within": len(within),
        "n_cross": len(cross),
    }
