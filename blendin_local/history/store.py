"""List, search, open and save conversations in a database.

Thread-safe; several processes may open the same file. Reading never waits for writing. All methods raise
HistoryError if the file cannot be read or written.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blendin_local.engine.steps import Step
from blendin_local.errors import HistoryError
from blendin_local.history.records import (
    decode_details,
    decode_setup,
    decode_steps,
    encode_details,
    encode_setup,
    encode_steps,
    summarize,
)
from blendin_local.history.schema import connect, first_line, fold, open_reader, translate_errors
from blendin_local.history.search import ConversationInfo, search
from blendin_local.history.tree import Removal, Setup, Tree, Turn, ids_in_cycles
from blendin_local.history.validation import read_fields
from blendin_local.safe_text import encodable

__all__ = ["SavedConversation", "Store"]

_Steps = list[Step]


@dataclass(frozen=True, slots=True)
class SavedConversation:
    """A saved conversation; `Store.load_steps` loads the steps of its replies.

    damaged: number of messages that could not be read and were left out.
    """

    id: str
    title: str
    setup: Setup
    tree: Tree
    damaged: int = 0


class Store:
    def __init__(self, path: Path) -> None:
        """Open the database, creating it if it is missing."""
        self.path = path
        self._database = connect(path)
        self._reader = open_reader(path)
        self._write_lock, self._read_lock = threading.Lock(), threading.Lock()

    def close(self) -> None:
        with self._read_lock, self._write_lock, translate_errors(self.path):
            self._reader.close()
            self._database.close()

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """Begin a read transaction: a consistent snapshot."""
        with self._read_lock, translate_errors(self.path), self._reader:
            self._reader.execute("BEGIN")
            yield self._reader

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """Begin a write transaction."""
        with self._write_lock, translate_errors(self.path), self._database:
            self._database.execute("BEGIN IMMEDIATE")
            yield self._database

    # Conversations

    def list(self, query: str = "", limit: int = 200) -> list[ConversationInfo]:
        """Return conversations with messages, the latest changed first; see `search.search`."""
        with self._reading() as database:
            return search(database, query, limit)

    def deleted(self, limit: int = 200) -> Sequence[ConversationInfo]:
        """Return conversations that `undelete` can restore, the latest deleted first."""
        with self._reading() as database:
            return search(database, "", limit, deleted=True)

    def create(self, id: str, setup: Setup) -> None:
        """Create a conversation, unless it exists; it is listed once it has a message."""
        with self._writing() as database:
            _create(database, id, setup)

    def add(self, kept: SavedConversation) -> None:
        """Add a whole new conversation, with the steps of its replies."""
        turns = kept.tree.turns.values()
        chunks = [(turn.id, encode_steps(turn.steps)) for turn in turns if turn.steps]
        with self._writing() as database:
            _create(database, kept.id, kept.setup, encodable(kept.title).strip())
            for turn in turns:
                _save(database, kept.id, turn)
            database.executemany("INSERT INTO chunks VALUES (?, 0, ?)", chunks)
            database.execute("UPDATE conversations SET leaf = ? WHERE id = ?", (kept.tree.leaf, kept.id))

    def open(self, id: str) -> SavedConversation:
        """Load a conversation with text and summary of every turn, without steps.

        A reply that was neither finished nor failed becomes "cancelled".
        """
        with self._reading() as database:
            row = database.execute(
                "SELECT title, setup, leaf FROM conversations WHERE id = ? AND deleted IS NULL", (id,)
            ).fetchone()
            if row is None:
                raise HistoryError("This conversation does not exist any more: it was deleted meanwhile.")
            rows = database.execute(
                "SELECT id, parent, role, created, text, setup, details, removed FROM turns "
                "WHERE conversation = ? ORDER BY created, key",
                (id,),
            ).fetchall()
            title, setup, leaf = row
            removed = {each[0]: each[1] for each in rows if each[-1] is not None}
            kept = [each for each in rows if each[-1] is None]
            turns = {turn.id: turn for each in kept if (turn := _turn(database, each)) is not None}
        for turn in turns.values():
            # Another process may have answered a removed turn: attach the answer to its nearest ancestor.
            left = _remaining_ancestor(turn.parent, removed)
            turn.parent = left if left in turns else None
        for cyclic in ids_in_cycles({turn.id: turn.parent for turn in turns.values()}):
            turns[cyclic].parent = None
        setup = decode_setup(str(setup))
        return SavedConversation(id, str(title), setup, Tree(turns.values(), leaf), len(kept) - len(turns))

    def set_title(self, id: str, title: str) -> str:
        """Rename a conversation and return its new title.

        A blank title is replaced by the first line of the first message.
        """
        with self._writing() as database:
            database.execute(
                "UPDATE conversations SET title = ? WHERE id = ?", (encodable(title).strip(), id)
            )
            _name(database, id)
            row = database.execute("SELECT title FROM conversations WHERE id = ?", (id,)).fetchone()
            return str(row[0]) if row else ""

    def set_setup(self, id: str, setup: Setup) -> None:
        """Set models and settings of the next replies."""
        self._set(id, "setup", encode_setup(setup))

    def set_leaf(self, id: str, leaf: str | None) -> None:
        """Set the last turn of the current path."""
        self._set(id, "leaf", leaf)

    def delete(self, id: str) -> None:
        """Hide a conversation until `undelete` or `purge`."""
        self._set(id, "deleted", time.time())

    def undelete(self, id: str) -> None:
        self._set(id, "deleted", None)

    def _set(self, id: str, column: str, value: str | float | None) -> None:
        with self._writing() as database:
            database.execute(f"UPDATE conversations SET {column} = ? WHERE id = ?", (value, id))

    def purge(self, older_than_seconds: float) -> None:
        """Permanently delete conversations and turns that were deleted longer ago than this."""
        before = time.time() - older_than_seconds
        with self._writing() as database:
            database.execute("DELETE FROM conversations WHERE deleted < ?", (before,))
            database.execute("DELETE FROM turns WHERE removed < ?", (before,))

    # Turns

    def save_turn(self, id: str, turn: Turn) -> None:
        """Save a turn without its steps; a new one becomes the end of the conversation's path.

        The first message gives an untitled conversation its title.
        """
        with self._writing() as database:
            _save(database, id, turn)

    def append_steps(self, turn_id: str, first: int, steps: Sequence[Step], text: str) -> None:
        """Save a reply's text, and its steps from index `first` on, replacing any from there."""
        data, text = encode_steps(steps), encodable(text)
        with self._writing() as database:
            database.execute("DELETE FROM chunks WHERE turn = ? AND first >= ?", (turn_id, first))
            if steps:
                database.execute("INSERT INTO chunks VALUES (?, ?, ?)", (turn_id, first, data))
            database.execute("UPDATE turns SET text = ? WHERE id = ?", (text, turn_id))
            _index(database, turn_id, text)

    def load_steps(self, turn_id: str) -> _Steps:
        """Load the steps of a reply."""
        with self._reading() as database:
            return _steps(database, turn_id)

    def remove(self, id: str, removal: Removal, leaf: str | None) -> None:
        """Remove turns, as `Tree.remove` did. leaf: the new end of the path."""
        self._move(id, removal, leaf, removed=time.time())

    def restore(self, id: str, removal: Removal) -> None:
        """Undo a removal, as `Tree.restore` did."""
        self._move(id, removal, removal.leaf, removed=None)

    def _move(self, id: str, removal: Removal, leaf: str | None, removed: float | None) -> None:
        gone = {turn.id: turn.parent for turn in removal.turns}
        marks = [(removed, turn) for turn in gone]
        moved = [(parent, turn.id) for turn, parent in removal.moved]
        if removed is not None:
            moved = [(_remaining_ancestor(parent, gone), turn) for parent, turn in moved]
        with self._writing() as database:
            database.executemany("UPDATE turns SET removed = ? WHERE id = ?", marks)
            database.executemany("UPDATE turns SET parent = ? WHERE id = ?", moved)
            database.execute("UPDATE conversations SET leaf = ? WHERE id = ?", (leaf, id))


def _create(database: sqlite3.Connection, id: str, setup: Setup, title: str = "") -> None:
    now = time.time()
    database.execute(
        "INSERT INTO conversations (id, created, updated, setup, title) VALUES (?, ?, ?, ?, ?) "
        "ON CONFLICT DO NOTHING",
        (id, now, now, encode_setup(setup), title),
    )


def _name(database: sqlite3.Connection, id: str) -> None:
    first = database.execute(
        "SELECT text FROM turns WHERE conversation = ? AND role = 'user' AND removed IS NULL "
        "ORDER BY created LIMIT 1",
        (id,),
    ).fetchone()
    title = first_line(first[0]) if first else ""
    database.execute("UPDATE conversations SET title = ? WHERE id = ? AND title = ''", (title, id))


def _save(database: sqlite3.Connection, id: str, turn: Turn) -> None:
    text = encodable(turn.text)
    setup = encode_setup(turn.setup) if turn.setup else ""
    values = (turn.parent, text, setup, encode_details(turn), turn.id)
    # A conversation that another process still writes to is undeleted.
    wakes = "UPDATE conversations SET updated = ?, deleted = NULL WHERE id = ?"
    database.execute(wakes, (time.time(), id))
    update = "UPDATE turns SET parent = ?, text = ?, setup = ?, details = ? WHERE id = ?"
    if not database.execute(update, values).rowcount:
        database.execute(
            "INSERT INTO turns (parent, text, setup, details, id, conversation, role, created) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (*values, id, turn.role, turn.created),
        )
        database.execute("UPDATE conversations SET leaf = ? WHERE id = ?", (turn.id, id))
        _name(database, id)
    _index(database, turn.id, text)


def _turn(database: sqlite3.Connection, row: tuple[Any, ...]) -> Turn | None:
    """Return the turn of a row; None if the row is damaged."""
    try:
        return _read_turn(database, row)
    except sqlite3.Error:
        raise
    except Exception:  # a damaged row can hold anything
        return None


def _read_turn(database: sqlite3.Connection, row: tuple[Any, ...]) -> Turn:
    names = ("id", "parent", "role", "created", "text")
    fields = read_fields(Turn, dict(zip(names, row, strict=False)), "turn")
    turn = Turn(**fields)
    setup, details = row[5:7]
    decode_details(turn, details)
    turn.setup = decode_setup(setup) if setup else None
    if turn.is_reply and turn.finish_reason is None and not turn.error:
        timings = turn.summary.timings
        turn.summary = summarize(_steps(database, turn.id), turn.fork or 0)
        turn.summary.timings.first_token_s = timings.first_token_s
        turn.summary.timings.total_s = timings.total_s
        turn.finish_reason = turn.summary.finish_reason = "cancelled"
    return turn


def _steps(database: sqlite3.Connection, turn_id: str) -> list[Step]:
    chunks = "SELECT first, steps FROM chunks WHERE turn = ? ORDER BY first"
    steps: list[Step] = []
    for first, data in database.execute(chunks, (turn_id,)):
        if type(first) is not int or not 0 <= first <= len(steps):
            raise HistoryError("The tokens of a reply are damaged: a part of them is missing.")
        steps[first:] = decode_steps(data)
    return steps


def _remaining_ancestor(parent: str | None, gone: dict[str, str | None]) -> str | None:
    """Return the nearest ancestor that is not removed; None if the removed ones form a cycle."""
    seen = set()
    while parent in gone and parent not in seen:
        seen.add(parent)
        parent = gone[parent]
    return None if parent in gone else parent


def _index(database: sqlite3.Connection, turn_id: str, text: str) -> None:
    database.execute(
        "INSERT OR REPLACE INTO texts (rowid, text) SELECT key, ? FROM turns WHERE id = ?",
        (fold(text), turn_id),
    )
