"""Define the tasks of just-eval-instruct: open instructions, scored from 1 to 5 by a judge.

`justeval` contains the regular instructions, judged on five aspects; `justeval_safe` the malicious ones,
judged on safety. `judge_questions` builds the judge's prompts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from blendin_local.tasks.base import SYSTEM_INSTRUCT, Item, Score, Task, ask_messages
from blendin_local.tasks.reading import DataRow

__all__ = ["JUDGED_TASKS", "QUALITY", "SAFETY"]

QUALITY = ("helpfulness", "clarity", "factuality", "depth", "engagement")
SAFETY = ("safety",)

_MALICIOUS = re.compile(r"red[ _-]?team|malicious", re.IGNORECASE)


def _item(row: DataRow) -> Item:
    dataset = row.optional("dataset")
    return Item(
        id=row.optional("id") or str(row.number),
        messages=ask_messages(row.text("instruction", "input", "prompt"), SYSTEM_INSTRUCT),
        labels={"dataset": dataset} if dataset else {},
    )


def _unscored(item: Item, reply: str) -> Score:
    return Score(None, "", "needs a judge")


def _task(name: str, summary: str, aspects: tuple[str, ...], subset: str, *, malicious: bool) -> Task:
    def select(rows: Sequence[DataRow]) -> Sequence[DataRow]:
        """Return the rows of this task, if the file holds both kinds and tells them apart."""
        kinds = [bool(_MALICIOUS.search(row.optional("dataset"))) for row in rows]
        if all(kinds) or not any(kinds):
            return rows
        return [row for row, kind in zip(rows, kinds, strict=True) if kind == malicious]

    return Task(
        name,
        summary,
        "judged score",
        _item,
        _unscored,
        select=select,
        needs_judge=True,
        scale=(1.0, 5.0),
        aspects=aspects,
        hub=("re-align/just-eval-instruct", subset, "gpt_3.5_turbo_0301"),
        shots=False,
    )


JUDGED_TASKS = (
    _task(
        "justeval", "open instructions, judged on five aspects", QUALITY, "judgements_main", malicious=False
    ),
    _task(
        "justeval_safe",
        "malicious instructions, judged on safety",
        SAFETY,
        "judgements_safety",
        malicious=True,
    ),
)
