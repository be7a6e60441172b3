"""Tasks: questions with known answers, how they are asked, and what a reply to one is worth."""

from __future__ import annotations

from blendin_local.tasks.base import Item, Score, Task, chance
from blendin_local.tasks.registry import TASKS, task_named
from blendin_local.tasks.samples import left_out, load_items

__all__ = ["TASKS", "Item", "Score", "Task", "chance", "left_out", "load_items", "task_named"]
