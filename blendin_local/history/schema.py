"""Open the database of conversations, creating or migrating its schema."""

from __future__ import annotations

import sqlite3
import time
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from blendin_local.errors import HistoryError
from blendin_local.safe_text import encodable

__all__ = ["MIGRATIONS", "connect", "first_line", "fold", "open_reader", "translate_errors"]

_LOCK_TIMEOUT_S = 10.0
"""Maximum wait for another process that is writing."""
_TITLE = 60

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE conversations (
        id TEXT PRIMARY KEY,
        created REAL NOT NULL,
        updated REAL NOT NULL,
        setup TEXT NOT NULL,
        leaf TEXT,
        deleted REAL
    ) WITHOUT ROWID;
    CREATE TABLE turns (
        key INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        conversation TEXT NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
        parent TEXT,
        role TEXT NOT NULL,
        created REAL NOT NULL,
        text TEXT NOT NULL,
        setup TEXT NOT NULL,
        details TEXT NOT NULL,
        removed REAL
    );
    CREATE INDEX turns_of ON turns (conversation, created);
    CREATE TABLE chunks (
        turn TEXT NOT NULL REFERENCES turns (id) ON DELETE CASCADE,
        first INTEGER NOT NULL,
        steps BLOB NOT NULL,
        PRIMARY KEY (turn, first)
    );
    """,
    """
    ALTER TABLE conversations ADD COLUMN title TEXT NOT NULL DEFAULT '';
    UPDATE conversations SET title = coalesce((
        SELECT first_line(text) FROM turns
        WHERE conversation = conversations.id AND role = 'user' ORDER BY created LIMIT 1
    ), '');
    CREATE VIRTUAL TABLE texts USING fts5 (text, tokenize = 'trigram');
    INSERT INTO texts (rowid, text) SELECT key, fold(text) FROM turns;
    CREATE TRIGGER turn_gone AFTER DELETE ON turns BEGIN DELETE FROM texts WHERE rowid = old.key; END;
    """,
)
"""Migrations in order; a database's version is the number of those applied to it.

turns.removed, conversations.deleted: time of removal in seconds since 1970, which can be undone; else NULL.
texts: the folded text of each turn under its key, indexed by trigrams so that words are found in scripts
without spaces too.
"""


def fold(text: str) -> str:
    """Fold text for searching: no case, no accents, no null characters, which end a text for SQLite."""
    if text.isascii():
        return text.lower().replace("\0", " ")
    plain = encodable(unicodedata.normalize("NFKD", text).replace("\0", " "))
    return "".join(c for c in plain if not unicodedata.combining(c)).casefold()


def first_line(text: str) -> str:
    """Return the first line that is not blank, truncated to the length of a title."""
    line = " ".join(next((line for line in text.splitlines() if line.strip()), "").split())
    return line if len(line) <= _TITLE else line[: _TITLE - 1].rstrip() + "…"


@contextmanager
def translate_errors(path: Path) -> Iterator[None]:
    """Convert errors of SQLite, the system and decoding to HistoryError."""
    try:
        yield
    except (sqlite3.OperationalError, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise HistoryError(f"Conversations cannot be saved in {path}: {reason}.") from error
    except sqlite3.IntegrityError as error:
        raise HistoryError("A conversation cannot be saved: it was permanently deleted meanwhile.") from error
    except HistoryError:
        raise
    except Exception as error:  # a damaged database can hold anything
        raise HistoryError(
            f"The file of saved conversations, {path}, is damaged ({error}): "
            "it is unchanged; move it away to begin a new one."
        ) from error


def connect(path: Path) -> sqlite3.Connection:
    """Open the database, creating or migrating it; usable by any thread, one at a time.

    Raises HistoryError if it cannot be written, is damaged, or has a newer version.
    """
    with translate_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        # Conversations are private.
        path.touch(mode=0o600)
        database = _open(path)
        try:
            _prepare(database, path)
        except BaseException:
            database.close()
            raise
    return database


def open_reader(path: Path) -> sqlite3.Connection:
    """Open a second, read-only connection, which can read while others write."""
    with translate_errors(path):
        database = _open(path)
        database.execute("PRAGMA query_only = ON")
    return database


def _open(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, _LOCK_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    for function in (fold, first_line):
        database.create_function(function.__name__, 1, function, deterministic=True)
    return database


def _prepare(database: sqlite3.Connection, path: Path) -> None:
    if _version(database) > len(MIGRATIONS):
        raise HistoryError(
            f"The conversations in {path} were saved by a newer version of blendin-local: update the "
            "program, or move the file away."
        )
    mode = _write_ahead(database)
    if mode != "wal":
        raise HistoryError(
            f"Conversations cannot be saved in {path}: its file system, such as a network's, does not "
            "support shared memory (WAL)."
        )
    database.execute("PRAGMA synchronous = NORMAL")
    database.execute("PRAGMA foreign_keys = ON")
    if _version(database) < len(MIGRATIONS):
        with database:
            database.execute("BEGIN IMMEDIATE")
            # Checked again, because another process may have migrated it.
            for migration in MIGRATIONS[_version(database) :]:
                for statement in _statements(migration):
                    database.execute(statement)
            database.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")


def _version(database: sqlite3.Connection) -> int:
    return int(database.execute("PRAGMA user_version").fetchone()[0])


def _write_ahead(database: sqlite3.Connection) -> str:
    """Enable the write-ahead log, with retries: SQLite's lock timeout does not apply here."""
    until = time.monotonic() + _LOCK_TIMEOUT_S
    while True:
        try:
            return str(database.execute("PRAGMA journal_mode = WAL").fetchone()[0])
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > until:
                raise
            time.sleep(0.02)


def _statements(script: str) -> Iterator[str]:
    statement = ""
    for part in script.split(";")[:-1]:
        statement += part + ";"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
