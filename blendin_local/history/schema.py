"""The database of kept conversations: its tables, and how it is opened and brought up to date."""

from __future__ import annotations

import sqlite3
import time
import unicodedata
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from blendin_local.errors import HistoryError
from blendin_local.safe_text import encodable

__all__ = ["MIGRATIONS", "connect", "explained", "first_line", "fold", "reader"]

_PATIENCE_S = 10.0
"""How long one program waits for another one that is writing."""
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
"""What takes a database from one version, which is the number of these it has seen, to the next.

turns.removed, conversations.deleted: seconds since 1970 where they are taken out, which can be undone.
texts: the folded text of each turn under its key; every run of three characters is indexed, so that words
are found in scripts without spaces too.
"""


def fold(text: str) -> str:
    """Text as it is searched: without case, accents, and the null characters that end a text for SQLite."""
    if text.isascii():
        return text.lower().replace("\0", " ")
    plain = encodable(unicodedata.normalize("NFKD", text).replace("\0", " "))
    return "".join(c for c in plain if not unicodedata.combining(c)).casefold()


def first_line(text: str) -> str:
    """The first line with anything on it, cut to a title's length."""
    line = " ".join(next((line for line in text.splitlines() if line.strip()), "").split())
    return line if len(line) <= _TITLE else line[: _TITLE - 1].rstrip() + "…"


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what SQLite and the system report, or data that cannot be read, into a HistoryError."""
    try:
        yield
    except (sqlite3.OperationalError, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise HistoryError(f"Conversations cannot be kept in {path}: {reason}.") from error
    except sqlite3.IntegrityError as error:
        raise HistoryError("A conversation cannot be kept: it was deleted for good meanwhile.") from error
    except (sqlite3.Error, zlib.error, ValueError) as error:
        raise HistoryError(
            f"The file of kept conversations, {path}, is damaged ({error}): "
            "nothing in it was changed; move it away to begin a new one."
        ) from error


def connect(path: Path) -> sqlite3.Connection:
    """Open the database, made or brought up to date where needed; for any thread, one at a time.

    Raises HistoryError where it cannot be written, is damaged, or is a newer version's.
    """
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        # Conversations are nobody else's business.
        path.touch(mode=0o600)
        database = _opened(path)
        try:
            _prepare(database, path)
        except BaseException:
            database.close()
            raise
    return database


def reader(path: Path) -> sqlite3.Connection:
    """A second connection to what `connect` opened, which reads while the first one, or a program, writes."""
    with explained(path):
        database = _opened(path)
        database.execute("PRAGMA query_only = ON")
    return database


def _opened(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, _PATIENCE_S, isolation_level=None, check_same_thread=False)
    for function in (fold, first_line):
        database.create_function(function.__name__, 1, function, deterministic=True)
    return database


def _prepare(database: sqlite3.Connection, path: Path) -> None:
    if _version(database) > len(MIGRATIONS):
        raise HistoryError(
            f"The conversations in {path} were kept by a newer version of blendin-local: update the program, "
            "or move the file away."
        )
    mode = _write_ahead(database)
    if mode != "wal":
        raise HistoryError(
            f"Conversations cannot be kept in {path}: its file system, a network's perhaps, has no shared "
            "memory (WAL)."
        )
    database.execute("PRAGMA synchronous = NORMAL")
    database.execute("PRAGMA foreign_keys = ON")
    if _version(database) < len(MIGRATIONS):
        with database:
            database.execute("BEGIN IMMEDIATE")
            # Again: another program may have been first.
            for migration in MIGRATIONS[_version(database) :]:
                for statement in _statements(migration):
                    database.execute(statement)
            database.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")


def _version(database: sqlite3.Connection) -> int:
    return int(database.execute("PRAGMA user_version").fetchone()[0])


def _write_ahead(database: sqlite3.Connection) -> str:
    """Switch to the write-ahead log; SQLite itself does not wait where another program does so too."""
    until = time.monotonic() + _PATIENCE_S
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
