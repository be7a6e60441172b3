"""Cache the results of comparisons by content, in one SQLite file.

The key of an answer is a digest of everything it depends on: the contents of the model files, the prompt
formats, the messages, every setting, the model options, and the versions of the program and of llama.cpp. So
no answer is reused under another setting, and none is computed twice. Scores are not cached: they are
computed again, so a changed scorer needs no model.
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
from blendin_local.files import cache_dir, parse_json
from blendin_local.tune.record import Record, pack_record, unpack_record

__all__ = ["Answer", "Answers", "answers_file", "digest"]

_LOCK_TIMEOUT_S = 30.0
"""Seconds to wait for another program's lock of the file."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One reply, with the figures that reports need.

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
    """Return the path of the cache of answers. It may not exist yet."""
    return cache_dir() / "answers.db"


def digest(content: Mapping[str, Any]) -> str:
    """Return the SHA-256 of plain data as hexadecimal digits, independent of the order of keys."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


class Answers:
    """The file of cached results. Thread-safe; several programs may have it open.

    fresh: write results without reading cached ones. All methods raise EvaluationError if the file cannot be
    read or written.
    """

    def __init__(self, path: Path, *, fresh: bool = False) -> None:
        self.path = path
        self.fresh = fresh
        self._lock = threading.Lock()
        with self._translate_errors():
            path.parent.mkdir(parents=True, exist_ok=True)
            # Answers quote the user's own questions.
            path.touch(mode=0o600)
            self._database = sqlite3.connect(
                path, _LOCK_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
        try:
            with self._translate_errors():
                self._prepare()
        except BaseException:
            self._database.close()
            raise

    def _prepare(self) -> None:
        until = time.monotonic() + _LOCK_TIMEOUT_S
        while True:
            try:
                self._database.execute("PRAGMA journal_mode = WAL")
                break
            except sqlite3.OperationalError as error:
                # SQLite's own timeout does not cover two programs that switch at once.
                if "locked" not in str(error) or time.monotonic() > until:
                    raise
                time.sleep(0.02)
        self._database.execute("PRAGMA synchronous = NORMAL")
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS kept (kind TEXT, key TEXT, created REAL NOT NULL, "
            "body BLOB NOT NULL, PRIMARY KEY (kind, key)) WITHOUT ROWID"
        )

    def close(self) -> None:
        with self._lock, self._translate_errors():
            self._database.close()

    # Answers

    def answer(self, key: str) -> Answer | None:
        found = self._plain("answer", key)
        if found is None or found.keys() != _FIELDS:
            return None
        return Answer(**{**found, "ranks": tuple(found["ranks"]), "masses": tuple(found["masses"])})

    def save_answer(self, key: str, answer: Answer) -> None:
        self._save_plain("answer", key, asdict(answer))

    def judgement(self, key: str) -> dict[str, Any] | None:
        """Return a judge's reply about an answer."""
        return self._plain("judgement", key)

    def save_judgement(self, key: str, judgement: Mapping[str, Any]) -> None:
        self._save_plain("judgement", key, judgement)

    def measurement(self, key: str) -> dict[str, Any] | None:
        """Return figures of one model on a text."""
        return self._plain("measurement", key)

    def save_measurement(self, key: str, measurement: Mapping[str, Any]) -> None:
        self._save_plain("measurement", key, measurement)

    def record(self, key: str) -> Record | None:
        """Return the record of one question's options."""
        body = self._get("record", key)
        if body is None:
            return None
        with suppress(EvaluationError, OSError):
            return unpack_record(io.BytesIO(body), "a kept record")[0]
        return None

    def save_record(self, key: str, record: Record) -> None:
        self._put("record", key, pack_record(record))

    def _plain(self, kind: str, key: str) -> dict[str, Any] | None:
        body = self._get(kind, key)
        if body is None:
            return None
        try:
            found = parse_json(zlib.decompress(body))
        except (zlib.error, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def _save_plain(self, kind: str, key: str, content: Mapping[str, Any]) -> None:
        # ASCII with escapes, since UTF-8 cannot encode unpaired surrogates.
        self._put(kind, key, zlib.compress(json.dumps(content, separators=(",", ":")).encode()))

    def _get(self, kind: str, key: str) -> bytes | None:
        if self.fresh:
            return None
        with self._lock, self._translate_errors():
            row = self._database.execute(
                "SELECT body FROM kept WHERE kind = ? AND key = ?", (kind, key)
            ).fetchone()
        return bytes(row[0]) if row else None

    def _put(self, kind: str, key: str, body: bytes) -> None:
        with self._lock, self._translate_errors():
            # One statement is one transaction, so a killed process leaves no partial result.
            self._database.execute(
                "INSERT OR REPLACE INTO kept VALUES (?, ?, ?, ?)", (kind, key, time.time(), body)
            )

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.OperationalError, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else error
            raise EvaluationError(f"Results cannot be saved in {self.path}: {reason}.") from error
        except sqlite3.Error as error:
            raise EvaluationError(
                f"The cache of results, {self.path}, cannot be used ({error}): move it away, and its "
                "results are computed again."
            ) from error
