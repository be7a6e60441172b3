"""Register all tasks by name."""

from __future__ import annotations

from difflib import get_close_matches

from blendin_local.errors import EvaluationError
from blendin_local.tasks.base import Task
from blendin_local.tasks.choices import CHOICE_TASKS
from blendin_local.tasks.custom import CUSTOM_TASKS
from blendin_local.tasks.judged import JUDGED_TASKS
from blendin_local.tasks.numbers import NUMBER_TASKS
from blendin_local.tasks.safety import SAFETY_TASKS
from blendin_local.tasks.short import SHORT_TASKS

__all__ = ["TASKS", "find_task"]

TASKS: dict[str, Task] = {
    task.name: task
    for task in (*NUMBER_TASKS, *CHOICE_TASKS, *SHORT_TASKS, *SAFETY_TASKS, *JUDGED_TASKS, *CUSTOM_TASKS)
}


def find_task(name: str) -> Task:
    """Return the task of this name. Raises EvaluationError for an unknown name, with similar ones."""
    wanted = name.strip().lower().replace("-", "_")
    if wanted in TASKS:
        return TASKS[wanted]
    close = get_close_matches(wanted, TASKS, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(close)}?" if close else f"use one of {', '.join(TASKS)}."
    raise EvaluationError(f"There is no task {name!r}: {hint}")
