"""Show answers side by side, the questions on which arms disagree first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from blendin_local.compare.arms import Arm
from blendin_local.compare.result import AnswerRow
from blendin_local.compare.summary import Results
from blendin_local.compare.writing import TaskRun
from blendin_local.safe_text import sanitize
from blendin_local.tasks.base import Item

__all__ = ["answer_rows", "disagreements", "side_by_side"]


def answer_rows(arms: Sequence[Arm], runs: Sequence[TaskRun], results: Results) -> tuple[AnswerRow, ...]:
    """Return a row for every answer, questions with the widest disagreement first in each task."""
    return tuple(
        _row(run, item, arm, results)
        for run in runs
        for item in _by_disagreement(arms, run, results)
        for arm in arms
    )


def _row(run: TaskRun, item: Item, arm: Arm, results: Results) -> AnswerRow:
    answer = results.answers[arm.name, run.name, item.id]
    score = results.scores[arm.name, run.name, item.id]
    return AnswerRow(
        run.name,
        item.id,
        arm.name,
        prompt=item.messages[-1].content,
        expected=item.answer,
        reply=answer.text,
        value=score.value,
        extracted=score.extracted,
        note=score.note,
        finish_reason=answer.finish_reason,
    )


def disagreements(arms: Sequence[Arm], runs: Sequence[TaskRun], results: Results) -> dict[str, list[str]]:
    """Return the questions of each task with different scores, the widest differences first."""
    return {
        run.name: [
            item.id
            for item in _by_disagreement(arms, run, results)
            if _spread(arms, run, item, results)[0] > 0
        ]
        for run in runs
    }


def _by_disagreement(arms: Sequence[Arm], run: TaskRun, results: Results) -> list[Item]:
    """Sort the questions of a task by disagreement, then by their order in the sample."""
    return sorted(run.items, key=lambda item: [-each for each in _spread(arms, run, item, results)])


def _spread(arms: Sequence[Arm], run: TaskRun, item: Item, results: Results) -> tuple[float, float, float]:
    """Return the range of scores, the size of the minority of arms, and the number of distinct answers."""
    scores = [results.scores[arm.name, run.name, item.id] for arm in arms]
    values = [score.value for score in scores if score.value is not None]
    if not values:
        return 0.0, 0.0, 0.0
    wide = max(values) - min(values)
    middle = (max(values) + min(values)) / 2
    above = sum(value > middle for value in values)
    return (
        wide,
        float(min(above, len(values) - above)) if wide else 0.0,
        float(len({score.extracted for score in scores})),
    )


def side_by_side(rows: Sequence[AnswerRow], limit: int) -> Iterator[str]:
    """Yield at most `limit` questions of each task as lines, with control characters escaped."""
    shown: dict[str, int] = {}
    last: tuple[str, str] | None = None
    for row in rows:
        question = row.task, row.item
        if question != last:
            last = question
            shown[row.task] = shown.get(row.task, 0) + 1
            if shown[row.task] > limit:
                continue
            yield ""
            yield f"━━ {sanitize(row.task)} · {sanitize(row.item)}"
            yield from _indent(row.prompt, "   ")
            if row.expected:
                yield f"   expected: {sanitize(row.expected)}"
        if shown[row.task] <= limit:
            yield f"── {sanitize(row.arm)}: {_score_line(row)}"
            yield from _indent(row.reply or "(nothing)", "   ")


def _score_line(row: AnswerRow) -> str:
    value = "not scored" if row.value is None else f"{row.value:g}"
    parts = [
        value,
        f"took {row.extracted!r}" if row.extracted else "",
        row.note,
        row.finish_reason,
    ]
    return sanitize(", ".join(part for part in parts if part))


def _indent(text: str, by: str) -> Iterator[str]:
    return (by + line for line in sanitize(text).splitlines() or [""])
