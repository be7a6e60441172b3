"""Format scores, differences and test results of a comparison."""

from __future__ import annotations

from blendin_local.compare.result import Interval, PairedTest, TaskInfo
from blendin_local.presentation.formatting import interval, number, percent, signed_number, signed_percent

__all__ = ["KINDS", "difference", "is_clearly", "score", "score_interval"]

KINDS = {"base": "base alone", "guide": "guide alone", "pair": "blend", "model": "one model"}
"""Names of the kinds of arms."""

_CLEAR = 0.05


def score(value: float | None, task: TaskInfo) -> str:
    """Format a score: in percent if the task's scale is 0 to 1, else as a number."""
    return percent(value) if task.is_share else number(value, 2)


def difference(value: float | None, task: TaskInfo) -> str:
    """Format a difference of scores with its sign."""
    return signed_percent(value) if task.is_share else signed_number(value, 2)


def score_interval(bounds: Interval | None, task: TaskInfo) -> str:
    return interval(bounds, 1 if task.is_share else 2, as_percent=task.is_share)


def is_clearly(test: PairedTest, *, better: bool) -> bool:
    """Return whether a difference is significant after Holm's correction, and in which direction."""
    if test.p_holm is None or test.difference is None or test.p_holm >= _CLEAR:
        return False
    return test.difference > 0 if better else test.difference < 0
