"""Benchmark tasks: read their questions, sample them, and score replies."""

from __future__ import annotations

from blendin_local.tasks.base import Item, Score, Task, chance
from blendin_local.tasks.registry import TASKS, find_task
from blendin_local.tasks.samples import describe_left_out, load_items

__all__ = ["TASKS", "Item", "Score", "Task", "chance", "describe_left_out", "find_task", "load_items"]
