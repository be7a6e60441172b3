"""What holds for a whole comparison, and which tasks it has. Nothing here knows a model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["DEFAULT_LIMIT", "RunSettings", "TaskSpec"]

DEFAULT_LIMIT = 50
"""Questions of each task: enough to see a difference of 20 points, few enough to wait for."""


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """A task and where its questions come from: a file, or "hub:..." (`tasks.datasets_source`).

    limit (0: all), shots, max_tokens: None takes what the run says.
    """

    name: str
    data: str
    limit: int | None = None
    shots: int | None = None
    max_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class RunSettings:
    """What holds for all arms and tasks.

    limit: questions of each task, 0 for all. shots: worked examples before each question. seed: fixes the
    sample, the examples and the random numbers. max_tokens: longest reply, None for the task's own.
    system: in place of the tasks' system prompts; "" for none at all. options: score multiple choice by the
    likelihood of its options too. text: for the fidelity of quantizations to `reference`, the first
    single model unless named; text_ctx, chunks: how it is cut. judge, judge_model: who judges.
    """

    limit: int = DEFAULT_LIMIT
    shots: int = 0
    seed: int = 0
    max_tokens: int | None = None
    system: str | None = None
    options: bool = True
    text: Path | None = None
    reference: str = ""
    text_ctx: int = 512
    chunks: int | None = None
    judge: str = ""
    judge_model: str = ""
