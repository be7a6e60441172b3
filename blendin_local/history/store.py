"""Conversations kept in a database: listed, found by their texts, opened, and written as they go on.

Any thread may call; several programs may have the same file open. Reading never waits for writing.
Everything raises HistoryError, one sentence, where the file cannot be read or written.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from blendin_local.engine.steps import Step
from blendin_local.errors import HistoryError
from blendin_local.history.records import (
    decode_steps,
    details_of,
    encode_steps,
    restore_details,
    setup_from,
    setup_to,
    sum_up,
)
from blendin_local.history.schema import connect, explained, first_line, fold, reader
from blendin_local.history.search import Listed, search
from blendin_local.history.tree import Removal, Setup, Tree, Turn
from blendin_local.safe_text import encodable

__all__ = ["Kept", "Store"]

_Steps = list[Step]


@dataclass(frozen=True, slots=True)
class Kept:
    """A conversation as it was kept; the steps of its replies come with `Store.load_steps`."""

    id: str
    title: str
    setup: Setup
    tree: Tree


class Store:
    def __init__(self, path: Path) -> None:
        """Open the database, making it where it is missing."""
        self.path = path
        self._database = connect(path)
        self._reader = reader(path)
        self._write_lock, self._read_lock = threading.Lock(), threading.Lock()

    def close(self) -> None:
        with self._read_lock, self._write_lock, explained(self.path):
            self._reader.close()
            self._database.close()

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """The file as it was at one moment, whatever is written meanwhile."""
        with self._read_lock, explained(self.path), self._reader:
            self._reader.execute("BEGIN")
            yield self._reader

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction: all of it is kept, or nothing."""
        with self._write_lock, explained(self.path), self._database:
            self._database.execute("BEGIN IMMEDIATE")
            yield self._database

    # Conversations

    def list(self, query: str = "", limit: int = 200) -> list[Listed]:
        """Conversations with messages, the one that was written to last first; see `search.search`."""
        with self._reading() as database:
            return search(database, query, limit)

    def deleted(self, limit: int = 200) -> Sequence[Listed]:
        """Conversations that `undelete` can bring back, the one that was deleted last first."""
        with self._reading() as database:
            return search(database, "", limit, deleted=True)

    def create(self, id: str, setup: Setup) -> None:
        """Begin a conversation; it is listed once it has a message. Without effect on one that exists."""
        with self._writing() as database:
            _create(database, id, setup)

    def add(self, kept: Kept) -> None:
        """Keep a whole conversation that is not there yet, with the steps of its replies."""
        turns = kept.tree.turns.values()
        chunks = [(turn.id, encode_steps(turn.steps)) for turn in turns if turn.steps]
        with self._writing() as database:
            _create(database, kept.id, kept.setup, encodable(kept.title).strip())
            for turn in turns:
                _save(database, kept.id, turn)
            database.executemany("INSERT INTO chunks VALUES (?, 0, ?)", chunks)
            database.execute("UPDATE conversations SET leaf = ? WHERE id = ?", (kept.tree.leaf, kept.id))

    def open(self, id: str) -> Kept:
        """A conversation with the text and figures of every turn, but without steps.

        A reply that no program finished, and gave no error, ends as "cancelled".
        """
        with self._reading() as database:
            row = database.execute(
                "SELECT title, setup, leaf FROM conversations WHERE id = ? AND deleted IS NULL", (id,)
            ).fetchone()
            if row is None:
                raise HistoryError("This conversation is not there any more: it was deleted meanwhile.")
            rows = database.execute(
                "SELECT id, parent, role, created, text, setup, details, removed FROM turns "
                "WHERE conversation = ? ORDER BY created, key",
                (id,),
            ).fetchall()
            title, setup, leaf = row
            removed = {each[0]: each[1] for each in rows if each[-1] is not None}
            turns = {each[0]: _turn(database, each) for each in rows if each[-1] is None}
            setup = setup_from(setup)
        for turn in turns.values():
            # Another program may have answered what this one removed: that hangs on what is left.
            left = _left(turn.parent, removed)
            turn.parent = left if left in turns else None
        return Kept(id, title, setup, Tree(turns.values(), leaf))

    def set_title(self, id: str, title: str) -> str:
        """Rename a conversation; a blank title stands for the first line of its first message.

        Returns its title now.
        """
        with self._writing() as database:
            database.execute(
                "UPDATE conversations SET title = ? WHERE id = ?", (encodable(title).strip(), id)
            )
            _name(database, id)
            row = database.execute("SELECT title FROM conversations WHERE id = ?", (id,)).fetchone()
            return str(row[0]) if row else ""

    def set_setup(self, id: str, setup: Setup) -> None:
        """What the next replies are asked with."""
        self._set(id, "setup", setup_to(setup))

    def set_leaf(self, id: str, leaf: str | None) -> None:
        """The last turn of the current path."""
        self._set(id, "leaf", leaf)

    def delete(self, id: str) -> None:
        """Take a conversation out of the lists, until `undelete` or `purge`."""
        self._set(id, "deleted", time.time())

    def undelete(self, id: str) -> None:
        self._set(id, "deleted", None)

    def _set(self, id: str, column: str, value: str | float | None) -> None:
        with self._writing() as database:
            database.execute(f"UPDATE conversations SET {column} = ? WHERE id = ?", (value, id))

    def purge(self, older_than_seconds: float) -> None:
        """Delete for good what was deleted or removed longer ago than this."""
        before = time.time() - older_than_seconds
        with self._writing() as database:
            database.execute("DELETE FROM conversations WHERE deleted < ?", (before,))
            database.execute("DELETE FROM turns WHERE removed < ?", (before,))

    # Turns

    def save_turn(self, id: str, turn: Turn) -> None:
        """Keep all of a turn but its steps; a new one becomes the end of the conversation's path.

        The first message names a conversation that has no title.
        """
        with self._writing() as database:
            _save(database, id, turn)

    def append_steps(self, turn_id: str, first: int, steps: Sequence[Step], text: str) -> None:
        """Keep the steps of a reply from index `first` on, in place of any kept from there, and its text."""
        data, text = encode_steps(steps), encodable(text)
        with self._writing() as database:
            database.execute("DELETE FROM chunks WHERE turn = ? AND first >= ?", (turn_id, first))
            if steps:
                database.execute("INSERT INTO chunks VALUES (?, ?, ?)", (turn_id, first, data))
            database.execute("UPDATE turns SET text = ? WHERE id = ?", (text, turn_id))
            _index(database, turn_id, text)

    def load_steps(self, turn_id: str) -> _Steps:
        """The steps of a reply, in their order."""
        with self._reading() as database:
            return _steps(database, turn_id)

    def remove(self, id: str, removal: Removal, leaf: str | None) -> None:
        """Take turns out, as `Tree.remove` did; leaf: the path's end now."""
        self._move(id, removal, leaf, removed=time.time())

    def restore(self, id: str, removal: Removal) -> None:
        """Undo a removal, as `Tree.restore` did."""
        self._move(id, removal, removal.leaf, removed=None)

    def _move(self, id: str, removal: Removal, leaf: str | None, removed: float | None) -> None:
        gone = {turn.id: turn.parent for turn in removal.turns}
        marks = [(removed, turn) for turn in gone]
        moved = [(parent, turn.id) for turn, parent in removal.moved]
        if removed is not None:
            moved = [(_left(parent, gone), turn) for parent, turn in moved]
        with self._writing() as database:
            database.executemany("UPDATE turns SET removed = ? WHERE id = ?", marks)
            database.executemany("UPDATE turns SET parent = ? WHERE id = ?", moved)
            database.execute("UPDATE conversations SET leaf = ? WHERE id = ?", (leaf, id))


def _create(database: sqlite3.Connection, id: str, setup: Setup, title: str = "") -> None:
    now = time.time()
    database.execute(
        "INSERT INTO conversations (id, created, updated, setup, title) VALUES (?, ?, ?, ?, ?) "
        "ON CONFLICT DO NOTHING",
        (id, now, now, setup_to(setup), title),
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
    setup = setup_to(turn.setup) if turn.setup else ""
    values = (turn.parent, text, setup, details_of(turn), turn.id)
    # What is still written to, by another program perhaps, is not gone.
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


def _turn(database: sqlite3.Connection, row: tuple[str, str | None, str, float, str, str, str, None]) -> Turn:
    id, parent, role, created, text, setup, details, _ = row
    turn = Turn("assistant" if role == "assistant" else "user", text, parent, id, created)
    restore_details(turn, details)
    turn.setup = setup_from(setup) if setup else None
    if turn.is_reply and turn.finish_reason is None and not turn.error:
        timings = turn.summary.timings
        turn.summary = sum_up(_steps(database, id), turn.fork or 0)
        turn.summary.timings.first_token_s = timings.first_token_s
        turn.summary.timings.total_s = timings.total_s
        turn.finish_reason = turn.summary.finish_reason = "cancelled"
    return turn


def _steps(database: sqlite3.Connection, turn_id: str) -> list[Step]:
    chunks = "SELECT first, steps FROM chunks WHERE turn = ? ORDER BY first"
    steps: list[Step] = []
    for first, data in database.execute(chunks, (turn_id,)):
        steps[first:] = decode_steps(data)
    return steps


def _left(parent: str | None, gone: dict[str, str | None]) -> str | None:
    """What is left of a turn's ancestors: the first that is not gone; None where they lead in a circle."""
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
