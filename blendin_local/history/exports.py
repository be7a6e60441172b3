"""Export a conversation to a file: Markdown or HTML for reading, JSON for importing again."""

from __future__ import annotations

from pathlib import Path

from blendin_local import files
from blendin_local.errors import HistoryError
from blendin_local.history.document import as_json
from blendin_local.history.html_export import as_page
from blendin_local.history.markdown import as_markdown
from blendin_local.history.tree import Setup, StepsOf, Tree
from blendin_local.safe_text import sanitize

__all__ = ["SUFFIXES", "export"]

SUFFIXES = {
    ".md": "Markdown, the current path",
    ".html": "a page with every token's figures, all branches",
    ".json": "everything; /open reads it again",
}


def export(title: str, setup: Setup, tree: Tree, path: Path, *, steps_of: StepsOf) -> None:
    """Write a conversation to a new file; its suffix, one of `SUFFIXES`, selects the format.

    steps_of: called once for each reply, for formats that show steps. Raises HistoryError for another suffix,
    an existing file, and a file that cannot be written.
    """
    name = sanitize(str(path))
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise HistoryError(f"{name} must end in {', '.join(SUFFIXES)}: that chooses the format.")
    try:
        _check(path, name)
        if suffix == ".md":
            text = as_markdown(title, setup, tree)
        else:
            text = (as_json if suffix == ".json" else as_page)(title, setup, tree, steps_of)
        files.write_text(path, text)
    except (OSError, UnicodeEncodeError) as error:
        # UnicodeEncodeError: a file name that the system cannot encode.
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise HistoryError(f"{name} cannot be written: {reason}.") from error


def _check(path: Path, name: str) -> None:
    if path.is_dir():
        raise HistoryError(f"{name} is a folder: name a file in it.")
    if path.exists():
        raise HistoryError(f"{name} exists already: choose another name.")
    if not path.parent.is_dir():
        raise HistoryError(
            f"There is no folder {sanitize(str(path.parent))}: make it, or choose another one."
        )
