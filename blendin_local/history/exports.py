"""A conversation as a file: Markdown or a page to read, JSON to keep and to bring back."""

from __future__ import annotations

from pathlib import Path

from blendin_local import atomic
from blendin_local.errors import HistoryError
from blendin_local.history.document import as_json, read_json
from blendin_local.history.markdown import as_markdown
from blendin_local.history.page import as_page
from blendin_local.history.tree import Setup, Tree
from blendin_local.inert import inert

__all__ = ["SUFFIXES", "export", "load"]

SUFFIXES = {
    ".md": "Markdown, the current path",
    ".html": "a page with every token's figures, all branches",
    ".json": "everything; blendin can read it again",
}


def export(
    title: str, setup: Setup, tree: Tree, path: Path, *, whole: bool = False, overwrite: bool = False
) -> None:
    """Write a conversation to a file; its suffix, one of `SUFFIXES`, chooses the format.

    whole: the whole tree in Markdown too. Raises HistoryError for another suffix, where the file exists and
    must not be overwritten, and where it cannot be written.
    """
    name = inert(str(path))
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise HistoryError(f"{name} must end in {', '.join(SUFFIXES)}: that chooses the format.")
    if path.is_dir():
        raise HistoryError(f"{name} is a folder: name a file in it.")
    if path.exists() and not overwrite:
        raise HistoryError(f"{name} exists already: choose another name, or overwrite it.")
    if not path.parent.is_dir():
        raise HistoryError(f"There is no folder {inert(str(path.parent))}: make it, or choose another one.")
    if suffix == ".md":
        text = as_markdown(title, setup, tree, whole=whole)
    else:
        text = (as_json if suffix == ".json" else as_page)(title, setup, tree)
    try:
        atomic.write_text(path, text)
    except OSError as error:
        raise HistoryError(f"{name} cannot be written: {error.strerror}.") from error


def load(path: Path) -> tuple[str, Setup, Tree]:
    """Title, setup and tree of a conversation that was exported as JSON. Raises HistoryError."""
    name = inert(str(path))
    try:
        document = path.read_text("utf-8-sig")
    except OSError as error:
        raise HistoryError(f"{name} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise HistoryError(f"{name} is not text: blendin reads conversations exported as JSON.") from error
    return read_json(document, name)
