"""The same tasks through the `datasets` library (an extra), for those with a network."""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit
from urllib.request import getproxies

from blendin_local.errors import EvaluationError
from blendin_local.tasks.base import Task
from blendin_local.tasks.reading import DataRow

__all__ = ["HUB", "hub_rows"]

HUB = "hub:"
"""Before a data set's name in place of a path: "hub:" alone is the task's usual one, "hub:validation" another
split of it, "hub:owner/name/configuration/split" any other with the same columns ("-": no configuration)."""

_TALKERS = ("datasets", "fsspec", "httpx", "huggingface_hub")
"""Loggers that would report each retry before the one sentence that says it all."""


def hub_rows(task: Task, where: str) -> list[DataRow]:
    """The rows of a data set on the Hugging Face hub, downloaded or from its cache.

    Where the hub's name is not even known to the network, only the cache is looked at: the library would ask
    for half a minute. Raises EvaluationError, one sentence, where the library is missing or the data set
    cannot be had.
    """
    name, configuration, split = _named(task, where.removeprefix(HUB).strip())
    unknown = _unknown_host()
    if unknown and "datasets" not in sys.modules:  # the library reads this once, when it is imported
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        import datasets
    except ImportError:
        raise EvaluationError(
            f"{where} needs the library `datasets`: pip install 'blendin-local[datasets]', or give a file."
        ) from None
    shown = f"{name} ({', '.join(filter(None, (configuration, split)))})"
    try:
        with _silence():
            loaded = datasets.load_dataset(name, configuration, split=split)
        return [DataRow(dict(record), f"{shown}, row {n}", n) for n, record in enumerate(loaded, 1)]
    except Exception as error:  # the library raises its own, its client's, and those of a network
        lines = [line for line in str(error).splitlines() if line.strip()]
        reason = " ".join(lines[0].split()).rstrip(".")[:200] if lines else type(error).__name__
        if unknown:
            reason = f"there is no way to {unknown}"
        raise EvaluationError(
            f"The data set {shown} cannot be had from the hub ({reason}): try again, or give a file."
        ) from error


def _unknown_host() -> str:
    """The hub's host if its name cannot be looked up; "" if it can, or if a proxy would do so."""
    host = urlsplit(os.environ.get("HF_ENDPOINT") or "https://huggingface.co").hostname or ""
    if getproxies():
        return ""
    try:
        socket.getaddrinfo(host, 443)
    except (OSError, UnicodeError):
        return host
    return ""


@contextmanager
def _silence() -> Iterator[None]:
    """Nothing below an error from the library and its clients."""
    loggers = [logging.getLogger(name) for name in _TALKERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


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
