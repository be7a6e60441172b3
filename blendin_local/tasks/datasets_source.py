"""Load tasks from the Hugging Face hub with the optional library `datasets`."""

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
"""Prefix of a data set instead of a path: "hub:" is the task's default, "hub:validation" another split of it,
"hub:owner/name/configuration/split" any data set with the same columns ("-": no configuration).
"""

_LOGGERS = ("datasets", "fsspec", "httpx", "huggingface_hub")
"""Loggers silenced during loading, because they report every retry."""


def hub_rows(task: Task, where: str) -> list[DataRow]:
    """Return the rows of a data set on the Hugging Face hub, downloaded or cached.

    If the hub's host cannot be resolved, only the cache is used: the library would retry for half a minute.
    Raises EvaluationError if the library is missing or the data set cannot be loaded.
    """
    name, configuration, split = _parse_source(task, where.removeprefix(HUB).strip())
    unknown = _unknown_host()
    if unknown and "datasets" not in sys.modules:  # the library reads this once, on import
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
    except Exception as error:  # errors of the library, its HTTP client and the network
        lines = [line for line in str(error).splitlines() if line.strip()]
        reason = " ".join(lines[0].split()).rstrip(".")[:200] if lines else type(error).__name__
        if unknown:
            reason = f"the host {unknown} cannot be resolved"
        raise EvaluationError(
            f"The data set {shown} cannot be loaded from the hub ({reason}): try again, or give a file."
        ) from error


def _unknown_host() -> str:
    """Return the hub's host if it cannot be resolved; "" if it can, or if a proxy resolves it."""
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
    """Suppress messages below errors from the library and its clients."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _parse_source(task: Task, rest: str) -> tuple[str, str | None, str]:
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
