"""List saved conversations and search their texts."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from blendin_local.history.records import decode_setup
from blendin_local.history.schema import fold
from blendin_local.history.tree import Setup
from blendin_local.history.validation import read_or

__all__ = ["MATCH_BEGINS", "MATCH_ENDS", "ConversationInfo", "search"]

MATCH_BEGINS, MATCH_ENDS = "\x02", "\x03"
"""Markers around matches in `ConversationInfo.snippet`, which do not occur elsewhere in it."""

_BEFORE, _AFTER = 30, 200
"""Characters of a snippet before and after the start of its first match."""
_INDEXED = 3
"""Minimum length of words in the trigram index; shorter ones need a scan of all texts."""

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
class ConversationInfo:
    """An entry of the list of conversations. created, updated: seconds since 1970.

    messages: number on the current path. pair: the pair's name, or both models' names. snippet: one line
    around the first match, "" without a query.
    """

    id: str
    title: str
    created: float
    updated: float
    messages: int
    pair: str
    snippet: str = ""


def search(
    database: sqlite3.Connection, query: str, limit: int, *, deleted: bool = False
) -> list[ConversationInfo]:
    """Return the conversations with messages, the latest changed first.

    deleted: list deleted conversations instead, the latest first. query: words that must all occur, also as
    parts of words, in the title or a message; case and accents are ignored, no character is special.
    """
    words = fold(query).split()
    found = [_find(database, word) for word in words]
    ids = json.dumps(sorted(set.intersection(*map(set, found)))) if words else None
    listed = []
    wanted = {"ids": ids, "limit": limit, "deleted": deleted}
    for id, title, created, updated, setup, messages in database.execute(_LIST, wanted):
        keys = [where[id] for where in found if where[id] is not None]
        text = _text(database, id, keys[0] if keys else None) if words else ""
        pair = _pair_of(decode_setup(str(setup)))
        created, updated = (read_or(0.0, float, each) for each in (created, updated))
        snippet = _snippet(text, words)
        listed.append(ConversationInfo(id, str(title), created, updated, messages, pair, snippet))
    return listed


def _find(database: sqlite3.Connection, word: str) -> dict[str, int | None]:
    """Return the ids of conversations that contain a word, with the key of the latest matching turn."""
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
    """Return the text of a turn, or of the first turn of a conversation."""
    where, value = ("key = ?", key) if key is not None else ("conversation = ? AND removed IS NULL", id)
    row = database.execute(f"SELECT text FROM turns WHERE {where} ORDER BY created LIMIT 1", (value,))
    return str((row.fetchone() or ("",))[0])


def _pair_of(setup: Setup) -> str:
    return setup.pair or f"{setup.base} + {setup.guide}"


def _snippet(text: str, words: Sequence[str]) -> str:
    """Return the text around the first match on one line, with all matches marked."""
    text = re.sub(f"[\\s{MATCH_BEGINS}{MATCH_ENDS}]+", " ", text).strip()
    folded = [fold(character) for character in text]
    where = [i for i, parts in enumerate(folded) for _ in parts] + [len(text)]
    pattern = "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))
    # A match includes the accents after its last character, which were folded away.
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
