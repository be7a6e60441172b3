"""What a comparison has worked out already, kept by content in one SQLite file.

The key of an answer is a digest of everything that decides it: the contents of the model files, the prompt
formats, the messages, every setting, how the models are opened, and the versions of the program and of
llama.cpp. So nothing is ever reused under another setting, and nothing is worked out twice. Scores are not
kept: they are worked out again, and a better scorer needs no model.
"""

from __future__ import annotations

import hashlib
import io
import json
import sqlite3
import threading
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from blendin_local.errors import EvaluationError
from blendin_local.files import cache_dir
from blendin_local.tune.record import Record, pack_record, unpack_record

__all__ = ["Answer", "Answers", "answers_file", "digest"]

_PATIENCE_S = 30.0
"""How long one program waits for another one that is writing."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One reply, as far as tables and readers need it.

    finish_reason: as the engine names it, or "prompt too long" where the prompt alone overflows a context.
    summary, timings: figures of the reply (`Summary.as_dict`, `Timings`). counts: words, guide_words,
    changed, dropped_messages (worked examples that a prompt lost to fit the context). ranks, masses: of each
    uncertain position the rank of the guide's top token in the base's distribution, and the base's
    probability above it. peak_memory: bytes, see `peak_memory.PeakMemory`.
    """

    text: str
    finish_reason: str
    summary: Mapping[str, Any]
    timings: Mapping[str, float]
    counts: Mapping[str, int]
    ranks: tuple[int, ...] = ()
    masses: tuple[float, ...] = ()
    peak_memory: int | None = None


_FIELDS = frozenset(field.name for field in fields(Answer))


def answers_file() -> Path:
    """Where answers are kept. It may not exist yet."""
    return cache_dir() / "answers.db"


def digest(content: Mapping[str, Any]) -> str:
    """SHA-256 of plain data, in hexadecimal digits; the order of keys does not matter."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


class Answers:
    """The file of kept results; several programs may have it open. Any thread may call.

    fresh: what is kept is not read, only written. Everything raises EvaluationError, one sentence, where the
    file cannot be read or written.
    """

    def __init__(self, path: Path, *, fresh: bool = False) -> None:
        self.path = path
        self.fresh = fresh
        self._lock = threading.Lock()
        with self._explained():
            path.parent.mkdir(parents=True, exist_ok=True)
            # Answers quote the user's own questions.
            path.touch(mode=0o600)
            self._database = sqlite3.connect(path, _PATIENCE_S, isolation_level=None, check_same_thread=False)
        try:
            with self._explained():
                self._prepare()
        except BaseException:
            self._database.close()
            raise

    def _prepare(self) -> None:
        until = time.monotonic() + _PATIENCE_S
        while True:
            try:
                self._database.execute("PRAGMA journal_mode = WAL")
                break
            except sqlite3.OperationalError as error:
                # SQLite itself does not wait where another program switches too.
                if "locked" not in str(error) or time.monotonic() > until:
                    raise
                time.sleep(0.02)
        self._database.execute("PRAGMA synchronous = NORMAL")
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS kept (kind TEXT, key TEXT, created REAL NOT NULL, "
            "body BLOB NOT NULL, PRIMARY KEY (kind, key)) WITHOUT ROWID"
        )

    def close(self) -> None:
        with self._lock, self._explained():
            self._database.close()

    # Answers

    def answer(self, key: str) -> Answer | None:
        found = self._plain("answer", key)
        if found is None or found.keys() != _FIELDS:
            return None
        return Answer(**{**found, "ranks": tuple(found["ranks"]), "masses": tuple(found["masses"])})

    def keep_answer(self, key: str, answer: Answer) -> None:
        self._keep_plain("answer", key, asdict(answer))

    def judgement(self, key: str) -> dict[str, Any] | None:
        """What a judge said about an answer."""
        return self._plain("judgement", key)

    def keep_judgement(self, key: str, judgement: Mapping[str, Any]) -> None:
        self._keep_plain("judgement", key, judgement)

    def measurement(self, key: str) -> dict[str, Any] | None:
        """Figures of one model on a text."""
        return self._plain("measurement", key)

    def keep_measurement(self, key: str, measurement: Mapping[str, Any]) -> None:
        self._keep_plain("measurement", key, measurement)

    def record(self, key: str) -> Record | None:
        """The record of one question's options."""
        body = self._get("record", key)
        if body is None:
            return None
        with suppress(EvaluationError, OSError):
            return unpack_record(io.BytesIO(body), "a kept record")[0]
        return None

    def keep_record(self, key: str, record: Record) -> None:
        self._put("record", key, pack_record(record))

    def _plain(self, kind: str, key: str) -> dict[str, Any] | None:
        body = self._get(kind, key)
        if body is None:
            return None
        try:
            found = json.loads(zlib.decompress(body))
        except (zlib.error, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def _keep_plain(self, kind: str, key: str, content: Mapping[str, Any]) -> None:
        # All ASCII: halves of surrogate pairs pass, which UTF-8 has no bytes for.
        self._put(kind, key, zlib.compress(json.dumps(content, separators=(",", ":")).encode()))

    def _get(self, kind: str, key: str) -> bytes | None:
        if self.fresh:
            return None
        with self._lock, self._explained():
            row = self._database.execute(
                "SELECT body FROM kept WHERE kind = ? AND key = ?", (kind, key)
            ).fetchone()
        return bytes(row[0]) if row else None

    def _put(self, kind: str, key: str, body: bytes) -> None:
        with self._lock, self._explained():
            # One statement is one transaction: a process killed here leaves all of it or nothing.
            self._database.execute(
                "INSERT OR REPLACE INTO kept VALUES (?, ?, ?, ?)", (kind, key, time.time(), body)
            )

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.OperationalError, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else error
            raise EvaluationError(f"Results cannot be kept in {self.path}: {reason}.") from error
        except sqlite3.Error as error:
            raise EvaluationError(
                f"The file of kept results, {self.path}, cannot be used ({error}): move it away, and "
                "what it kept is worked out again."
            ) from error
