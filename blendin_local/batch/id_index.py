"""Index the ids of input rows and of output lines, in bounded memory.

Ids are stored as digests in a temporary SQLite database on disk, which is deleted when it is closed or the
process ends.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from blendin_local.errors import BatchError

__all__ = ["IdIndex"]

_CACHE_KIB = 2048


class IdIndex:
    """The index. Usable from any thread, one at a time. All methods raise BatchError if the disk is full."""

    def __init__(self) -> None:
        with _translate_errors():
            self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
            # Durability is not needed: the database is gone after a crash.
            self._database.execute("PRAGMA journal_mode = OFF")
            self._database.execute("PRAGMA synchronous = OFF")
            self._database.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
            self._database.execute(
                "CREATE TABLE ids (id BLOB PRIMARY KEY, digest TEXT, met INTEGER NOT NULL DEFAULT 0, "
                "reported INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID"
            )
            # One transaction for everything: committing each row costs more than the row.
            self._database.execute("BEGIN")

    def close(self) -> None:
        self._database.close()

    def count(self, id: str) -> bool:
        """Count an occurrence of an id in the input; return whether it had occurred before."""
        self._run("INSERT INTO ids (id, met) VALUES (?, 1) ON CONFLICT (id) DO UPDATE SET met = met + 1", id)
        return bool(self._one("SELECT met > 1 FROM ids WHERE id = ?", id))

    def is_reported(self, id: str) -> bool:
        """Return whether the output reports this occurrence of an id, just counted, as a duplicate.

        Of n occurrences of an id, the output reports the last n - 1, in any order of lines.
        """
        return bool(self._one("SELECT reported >= met - 1 FROM ids WHERE id = ?", id))

    def digest_of(self, id: str) -> str | None:
        """Return the digest of the row that the output answers under this id, "" if the line has none.

        None if there is no answer. A failure counts as an answer.
        """
        found = self._one("SELECT digest FROM ids WHERE id = ?", id)
        return None if found is None else str(found)

    def add_answer(self, id: str, digest: str | None) -> bool:
        """Record an answer of the output. Returns False, and records nothing, if the id has one."""
        if self.digest_of(id) is not None:
            return False
        self._run(
            "INSERT INTO ids (id, digest) VALUES (?, ?) "
            "ON CONFLICT (id) DO UPDATE SET digest = excluded.digest",
            id,
            digest or "",
        )
        return True

    def add_duplicate(self, id: str) -> None:
        """Record a line of the output that reports this id as a duplicate."""
        self._run(
            "INSERT INTO ids (id, reported) VALUES (?, 1) "
            "ON CONFLICT (id) DO UPDATE SET reported = reported + 1",
            id,
        )

    def _run(self, statement: str, id: str, *more: str) -> None:
        with _translate_errors():
            self._database.execute(statement, (_key(id), *more))

    def _one(self, query: str, id: str) -> Any:
        with _translate_errors():
            row = self._database.execute(query, (_key(id),)).fetchone()
        return row[0] if row else None


def _key(id: str) -> bytes:
    """A fixed-length key of an id, which may contain lone surrogates."""
    return hashlib.blake2b(id.encode("utf-8", "surrogatepass"), digest_size=16).digest()


@contextmanager
def _translate_errors() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise BatchError(
            f"The list of finished rows cannot be kept in the folder for temporary files ({error}): free "
            "space there, or name another folder in the environment variable SQLITE_TMPDIR."
        ) from error
