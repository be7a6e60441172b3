"""Define the settings of a comparison and of its tasks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["DEFAULT_LIMIT", "RunSettings", "TaskSpec"]

DEFAULT_LIMIT = 50
"""Questions of each task: enough to detect a difference of 20 points in a short run."""


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """A task and the source of its questions: a file, or "hub:..." (`tasks.datasets_source`).

    limit (0: all), shots, max_tokens: None takes the run's value.
    """

    name: str
    data: str
    limit: int | None = None
    shots: int | None = None
    max_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class RunSettings:
    """Settings of all arms and tasks.

    limit: questions of each task, 0 for all. shots: worked examples before each question. seed: of sample,
    examples and random numbers. max_tokens: longest reply, None for the task's own. system: replaces the
    tasks' system prompts; "" for none. options: also score multiple choice by the likelihood of the options.
    text: file for the fidelity of quantizations to `reference`, by default the first single model; text_ctx,
    chunks: tokens per chunk and number of chunks. judge, judge_model: address or model of the judge, and the
    model name to request.
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
