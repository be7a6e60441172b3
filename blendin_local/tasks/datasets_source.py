"""The same tasks through the `datasets` library (an extra), for those with a network."""

from __future__ import annotations

from blendin_local.errors import EvaluationError
from blendin_local.tasks.base import Task
from blendin_local.tasks.reading import Row

__all__ = ["HUB", "hub_rows"]

HUB = "hub:"
"""Before a data set's name in place of a path: "hub:" alone is the task's usual one, "hub:validation" another
split of it, "hub:owner/name/configuration/split" any other with the same columns ("-": no configuration)."""


def hub_rows(task: Task, where: str) -> list[Row]:
    """The rows of a data set on the Hugging Face hub, downloaded or from its cache.

    Raises EvaluationError, one sentence, where the library is missing or the data set cannot be had.
    """
    name, configuration, split = _named(task, where.removeprefix(HUB).strip())
    try:
        import datasets
    except ImportError:
        raise EvaluationError(
            f"{where} needs the library `datasets`: pip install 'blendin-local[datasets]', or give a file."
        ) from None
    shown = f"{name} ({', '.join(filter(None, (configuration, split)))})"
    try:
        loaded = datasets.load_dataset(name, configuration, split=split)
        return [Row(dict(record), f"{shown}, row {n}", n) for n, record in enumerate(loaded, 1)]
    except Exception as error:  # the library raises its own, its client's, and those of a network
        lines = [line for line in str(error).splitlines() if line.strip()]
        reason = " ".join(lines[0].split()).rstrip(".")[:200] if lines else type(error).__name__
        raise EvaluationError(
            f"The data set {shown} cannot be had from the hub ({reason}): try again, or give a file."
        ) from error


def _named(task: Task, rest: str) -> tuple[str, str | None, str]:
    parts = rest.split("/") if rest else []
    if len(parts) == 4:
        owner, name, configuration, split = parts
        return f"{owner}/{name}", None if configuration == "-" else configuration, split
    if task.hub is None or len(parts) > 1:
        raise EvaluationError(
            f"{HUB}{rest} names no data set: use {HUB}OWNER/NAME/CONFIGURATION/SPLIT, with - for none."
        )
    usual, setup, usual_split = task.hub
    return usual, setup, parts[0] if parts else usual_split
