"""Which rows were met and which are answered, in bounded memory however many there are.

Ids are kept as digests in a temporary SQLite database, which lies on the disk, has no name, and is gone when
it is closed or the process ends.
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
    """Any thread may call, one at a time. Everything raises BatchError where the database cannot grow."""

    def __init__(self) -> None:
        with _explained():
            self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
            # Nobody reads it again after a crash.
            self._database.execute("PRAGMA journal_mode = OFF")
            self._database.execute("PRAGMA synchronous = OFF")
            self._database.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
            self._database.execute(
                "CREATE TABLE ids (id BLOB PRIMARY KEY, digest TEXT, met INTEGER NOT NULL DEFAULT 0, "
                "reported INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID"
            )
            # One transaction for all: to end one for each row costs more than the row.
            self._database.execute("BEGIN")

    def close(self) -> None:
        self._database.close()

    def seen(self, id: str) -> bool:
        """Whether the input has had this id before; counts it."""
        self._run("INSERT INTO ids (id, met) VALUES (?, 1) ON CONFLICT (id) DO UPDATE SET met = met + 1", id)
        return bool(self._one("SELECT met > 1 FROM ids WHERE id = ?", id))

    def reported(self, id: str) -> bool:
        """Whether the output says already that this id, which was `seen` just now, is a duplicate.

        Of an id that is met n times the output reports the n - 1 last ones, whichever lines they stand in.
        """
        return bool(self._one("SELECT reported >= met - 1 FROM ids WHERE id = ?", id))

    def done(self, id: str) -> str | None:
        """What was asked of the row that the output answers under this id: its digest, "" if it has none.

        None where there is no answer. A failure is an answer too.
        """
        found = self._one("SELECT digest FROM ids WHERE id = ?", id)
        return None if found is None else str(found)

    def answer(self, id: str, digest: str | None) -> bool:
        """Note an answer in the output. False, and nothing is noted, where there is one already."""
        if self.done(id) is not None:
            return False
        self._run(
            "INSERT INTO ids (id, digest) VALUES (?, ?) "
            "ON CONFLICT (id) DO UPDATE SET digest = excluded.digest",
            id,
            digest or "",
        )
        return True

    def report(self, id: str) -> None:
        """Note a line in the output which says that this id is a duplicate."""
        self._run(
            "INSERT INTO ids (id, reported) VALUES (?, 1) "
            "ON CONFLICT (id) DO UPDATE SET reported = reported + 1",
            id,
        )

    def _run(self, statement: str, id: str, *more: str) -> None:
        with _explained():
            self._database.execute(statement, (_key(id), *more))

    def _one(self, query: str, id: str) -> Any:
        with _explained():
            row = self._database.execute(query, (_key(id),)).fetchone()
        return row[0] if row else None


def _key(id: str) -> bytes:
    """As long for every id; ids may hold halves of surrogate pairs."""
    return hashlib.blake2b(id.encode("utf-8", "surrogatepass"), digest_size=16).digest()


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise BatchError(
            f"The list of finished rows cannot be kept in the folder for temporary files ({error}): free "
            "space there, or name another folder in the environment variable SQLITE_TMPDIR."
        ) from error
