"""Output files of a command: checked before it runs, written atomically at its end."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from blendin_local.errors import EvaluationError

__all__ = ["check_distinct", "check_writable", "write_output"]


def check_distinct(outputs: Mapping[str, str | Path | None], inputs: Iterable[str | Path | None]) -> None:
    """Raise EvaluationError for an output file that is also an input or another output.

    outputs: files by option. Either argument may contain None for options that were not given.
    """
    from blendin_local.files import real_path

    taken = {real_path(Path(each)): "is read by this command" for each in inputs if each is not None}
    for flag, given in outputs.items():
        if given is None:
            continue
        path = real_path(Path(given))
        if path in taken:
            raise EvaluationError(f"{flag} {given} {taken[path]}: name another file.")
        taken[path] = f"is also the file of {flag}"


def check_writable(flag: str, path: Path) -> None:
    """Raise EvaluationError for a file that cannot be written."""
    try:
        exists = bool(os.stat(path))
    except (FileNotFoundError, NotADirectoryError):
        exists = False
    except OSError as error:
        raise EvaluationError(f"{flag} {path} cannot be written: {error.strerror or error}.") from error
    if path.is_dir():
        raise EvaluationError(f"{flag} {path} is a folder: name a file in it.")
    if exists and not path.is_file():
        raise EvaluationError(f"{flag} {path} is a device or a pipe: name a file.")
    if not path.parent.is_dir():
        raise EvaluationError(f"{flag} {path} cannot be written: there is no folder {path.parent}.")
    if not os.access(path if exists else path.parent, os.W_OK):
        raise EvaluationError(f"{flag} {path} cannot be written: permission denied.")


def write_output(path: Path, text: str) -> None:
    """Write a text atomically. Raises EvaluationError."""
    from blendin_local.files import write_text
    from blendin_local.safe_text import encodable

    try:
        write_text(path, encodable(text))
    except OSError as error:
        reason = error.strerror or error
        raise EvaluationError(
            f"{path} cannot be written ({reason}). The results are saved: run the same command again."
        ) from error
