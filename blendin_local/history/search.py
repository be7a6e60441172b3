"""The list of kept conversations, and finding them by what was said in them."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from blendin_local.history.records import setup_from
from blendin_local.history.schema import fold
from blendin_local.history.tree import Setup

__all__ = ["MATCH_BEGINS", "MATCH_ENDS", "Listed", "search"]

MATCH_BEGINS, MATCH_ENDS = "\x02", "\x03"
"""Around what was searched for, in `Listed.snippet`; they occur in no other place of it."""

_BEFORE, _AFTER = 30, 200
"""Characters that a snippet shows before and after its first match."""
_INDEXED = 3
"""Words shorter than this are not in the index: their texts are read one by one."""

_LIST = """
    SELECT id, title, created, updated, setup, (
        WITH RECURSIVE path (id, parent) AS (
            SELECT id, parent FROM turns WHERE id = c.leaf AND removed IS NULL
            UNION SELECT t.id, t.parent FROM turns t JOIN path ON t.id = path.parent WHERE t.removed IS NULL
        ) SELECT count(*) FROM path
    )
    FROM conversations c
    WHERE (deleted IS NOT NULL) = :deleted
    AND EXISTS (SELECT 1 FROM turns WHERE conversation = c.id AND removed IS NULL)
    AND (:ids IS NULL OR id IN (SELECT value FROM json_each(:ids)))
    ORDER BY deleted DESC, updated DESC, created DESC LIMIT :limit
"""


@dataclass(frozen=True, slots=True)
class Listed:
    """A conversation as lists show it. created, updated: seconds since 1970.

    messages: those of its current path. pair: the pair's name, or both models'. snippet: around what was
    found in it, in one line; "" where nothing was searched for.
    """

    id: str
    title: str
    created: float
    updated: float
    messages: int
    pair: str
    snippet: str = ""


def search(database: sqlite3.Connection, query: str, limit: int, *, deleted: bool = False) -> list[Listed]:
    """Conversations with messages, the one that was written to last first.

    deleted: those that were deleted instead, the latest first.
    query: words, each of which occurs in the title or a message, the beginning or middle of a word being
    enough; case and accents do not matter, and no character has a meaning of its own.
    """
    words = fold(query).split()
    found = [_find(database, word) for word in words]
    ids = json.dumps(sorted(set.intersection(*map(set, found)))) if words else None
    listed = []
    wanted = {"ids": ids, "limit": limit, "deleted": deleted}
    for id, title, created, updated, setup, messages in database.execute(_LIST, wanted):
        keys = [where[id] for where in found if where[id] is not None]
        text = _text(database, id, keys[0] if keys else None) if words else ""
        pair = _pair_of(setup_from(setup))
        listed.append(Listed(id, title, created, updated, messages, pair, _snippet(text, words)))
    return listed


def _find(database: sqlite3.Connection, word: str) -> dict[str, int | None]:
    """The conversations that hold a word, with the key of the latest turn that does, if one does."""
    titled = database.execute("SELECT id FROM conversations WHERE instr(fold(title), ?)", (word,))
    found: dict[str, int | None] = {id: None for (id,) in titled}
    quoted = '"' + word.replace('"', '""') + '"'
    match, value = ("texts MATCH ?", quoted) if len(word) >= _INDEXED else ("instr(text, ?)", word)
    said = database.execute(
        "SELECT conversation, key, max(created) FROM turns WHERE removed IS NULL "
        f"AND key IN (SELECT rowid FROM texts WHERE {match}) GROUP BY conversation",
        (value,),
    )
    return found | {id: key for id, key, _ in said}


def _text(database: sqlite3.Connection, id: str, key: int | None) -> str:
    """The text of a turn, or of a conversation's first one."""
    where, value = ("key = ?", key) if key is not None else ("conversation = ? AND removed IS NULL", id)
    row = database.execute(f"SELECT text FROM turns WHERE {where} ORDER BY created LIMIT 1", (value,))
    return str((row.fetchone() or ("",))[0])


def _pair_of(setup: Setup) -> str:
    return setup.pair or f"{setup.base} + {setup.guide}"


def _snippet(text: str, words: Sequence[str]) -> str:
    """Text around the first match, in one line, with all matches marked."""
    text = re.sub(f"[\\s{MATCH_BEGINS}{MATCH_ENDS}]+", " ", text).strip()
    folded = [fold(character) for character in text]
    where = [i for i, parts in enumerate(folded) for _ in parts] + [len(text)]
    pattern = "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))
    # A match ends where the next character begins, after the accents that were folded away.
    spans = [
        (where[match.start()], max(where[match.end()], where[match.end() - 1] + 1))
        for match in re.finditer(pattern or "(?!)", "".join(folded))
    ]
    begin = max(0, spans[0][0] - _BEFORE) if spans else 0
    shown, at = "…" if begin else "", begin
    for start, end in spans:
        if start >= at and end <= begin + _AFTER:
            shown += text[at:start] + MATCH_BEGINS + text[start:end] + MATCH_ENDS
            at = end
    end = begin + _AFTER
    return shown + text[at:end] + ("…" if len(text) > end else "")
