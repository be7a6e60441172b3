"""Files that a command writes at its end: checked before it begins, written whole."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from blendin_local.errors import EvaluationError

__all__ = ["check_distinct", "check_writable", "write_output"]


def check_distinct(outputs: Mapping[str, str | Path | None], inputs: Iterable[str | Path | None]) -> None:
    """Raise EvaluationError where a file would be written over one that is read, or over another result.

    outputs: by flag. Either may hold None, for what was not given.
    """
    taken = {Path(each).resolve(): "is read by this command" for each in inputs if each is not None}
    for flag, given in outputs.items():
        if given is None:
            continue
        path = Path(given).resolve()
        if path in taken:
            raise EvaluationError(f"{flag} {given} {taken[path]}: name another file.")
        taken[path] = f"is where {flag} goes already"


def check_writable(flag: str, path: Path) -> None:
    """Raise EvaluationError for a file that could not be written after a run of hours."""
    if path.is_dir():
        raise EvaluationError(f"{flag} {path} is a folder: name a file in it.")
    if not path.parent.is_dir():
        raise EvaluationError(f"{flag} {path} cannot be written: there is no folder {path.parent}.")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise EvaluationError(f"{flag} {path} cannot be written, because you lack the permission.")


def write_output(path: Path, text: str) -> None:
    """Write a text whole. Raises EvaluationError."""
    from blendin_local.files import write_text
    from blendin_local.safe_text import encodable

    try:
        write_text(path, encodable(text))
    except OSError as error:
        reason = error.strerror or error
        raise EvaluationError(
            f"{path} cannot be written ({reason}); nothing is lost: run the same command again."
        ) from error
