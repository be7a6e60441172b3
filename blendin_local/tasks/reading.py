"""Rows of the files in which test sets are published: JSON, JSON lines, CSV, TSV and Parquet, also gzipped.

Every row knows where it stands, and complaints about one are a sentence with the file and the line.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from blendin_local.errors import EvaluationError

__all__ = ["Row", "items_of", "read_rows"]

_LISTS = ("examples", "data", "rows")
"""Where JSON documents that are an object keep their list of questions; BIG-bench: `examples`."""

_SHOWN = 8
"""So many of a row's fields are named in a complaint."""

_DECODER = json.JSONDecoder()

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Row:
    """One record of a file. place: as "FILE, line 3". number: counted from 1. stem: the file's bare name."""

    data: Mapping[str, Any]
    place: str
    number: int
    stem: str = ""

    def fail(self, what: str) -> NoReturn:
        """Raise EvaluationError with where this row stands."""
        raise EvaluationError(f"{self.place}: {what}.")

    def has(self, *names: str) -> bool:
        """Whether any of these fields is there and not null."""
        return any(self.data.get(name) is not None for name in names)

    def value(self, *names: str) -> Any:
        """The first of these fields that is there. Raises EvaluationError if none is."""
        for name in names:
            if self.data.get(name) is not None:
                return self.data[name]
        wanted = " or ".join(f"`{name}`" for name in names)
        found = ", ".join(str(name) for name in list(self.data)[:_SHOWN]) or "nothing"
        self.fail(f"this row has no field {wanted} (it has: {found})")

    def text(self, *names: str) -> str:
        """The first of these fields, as text that is not blank, without white space around it."""
        found = self.value(*names)
        if isinstance(found, bool) or not isinstance(found, (str, int, float)):
            self.fail(f"`{self._found(names)}` must be text, not {type(found).__name__}")
        text = str(found).strip()
        if not text:
            self.fail(f"`{self._found(names)}` is empty")
        return text

    def optional(self, *names: str) -> str:
        """The first of these fields that is there and not blank, as text, or ""."""
        filled = (name for name in names if self.has(name) and str(self.data[name]).strip())
        return next((self.text(name) for name in filled), "")

    def within(self, name: str) -> Row:
        """The object in field `name`, as a row of its own that stands in the same place."""
        found = self.value(name)
        if not isinstance(found, Mapping):
            self.fail(f"`{name}` must be an object, not {type(found).__name__}")
        return Row(found, self.place, self.number, self.stem)

    def _found(self, names: Sequence[str]) -> str:
        return next(name for name in names if self.data.get(name) is not None)


def items_of(rows: Sequence[Row], make: Callable[[Row], T]) -> list[T]:
    """`make` of every row; what a row of an unexpected shape raises becomes a sentence with its place."""
    made = []
    for row in rows:
        try:
            made.append(make(row))
        except EvaluationError:
            raise
        except (TypeError, ValueError, LookupError, AttributeError) as error:
            reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
            row.fail(f"this row is not of the task's format ({reason})")
    return made


def read_rows(path: Path, *, columns: Sequence[str] = ()) -> list[Row]:
    """All rows of a file, or of the files of a folder by name.

    columns: names of a CSV file's columns where it may lack a header, as MMLU's do; a header has the first of
    them. Raises EvaluationError, one sentence with file and line, for what cannot be read; an empty file is
    one of those.
    """
    if path.is_dir():
        files = sorted(each for each in path.iterdir() if each.is_file() and _kind(each) != "other")
        if not files:
            raise EvaluationError(f"The folder {path} holds no JSON, JSONL, CSV or Parquet file.")
        return [row for each in files for row in read_rows(each, columns=columns)]
    kind = _kind(path)
    if kind == "parquet":
        rows = list(_parquet(path))
    else:
        text = _text(path)
        if kind in ("csv", "tsv"):
            rows = list(_table(path, text, "\t" if kind == "tsv" else ",", columns))
        else:
            rows = list(_documents(path, text))
    if not rows:
        raise EvaluationError(f"{path} holds no rows.")
    return rows


def _kind(path: Path) -> str:
    suffixes = [suffix for suffix in path.suffixes if suffix.lower() != ".gz"]
    suffix = suffixes[-1].lower() if suffixes else ""
    known = {".json": "json", ".jsonl": "json", ".ndjson": "json", ".csv": "csv", ".tsv": "tsv"}
    return known.get(suffix, "parquet" if suffix == ".parquet" else "other")


def _stem(path: Path) -> str:
    return path.name.split(".")[0]


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
    except FileNotFoundError:
        raise EvaluationError(f"There is no file {path}.") from None
    except (OSError, EOFError, zlib.error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise EvaluationError(f"Cannot read {path}: {reason.rstrip('.')}.") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise EvaluationError(
            f"{path}, line {line}: this is not UTF-8 text; save the file as UTF-8."
        ) from None


# JSON and JSON lines


def _documents(path: Path, text: str) -> Iterator[Row]:
    start = _skip(text, 0)
    if start == len(text):
        return
    if text[start] == "[":
        yield from _list(path, text, start)
    elif text[start] == "{" and (inside := _list_inside(text, start)) is not None:
        yield from _list(path, text, inside)
    else:
        yield from _lines(path, text)


def _lines(path: Path, text: str) -> Iterator[Row]:
    """JSON lines: one object a line; blank lines count as lines only."""
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            place = f"{path}, line {number}"
            try:
                record = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise EvaluationError(f"{place}: this is not valid JSON ({_reason(error)}).") from error
            yield _row(record, place, number, path)


def _list(path: Path, text: str, start: int) -> Iterator[Row]:
    """The objects of the JSON list that begins at `start`, each with the line on which it begins."""
    line, counted, number = 1, 0, 0
    at = _skip(text, start + 1)
    while text[at : at + 1] != "]":
        line, counted, number = line + text.count("\n", counted, at), at, number + 1
        record, at = _decode(path, text, at)
        yield _row(record, f"{path}, line {line}", number, path)
        at = _skip(text, at)
        if text[at : at + 1] == ",":
            at = _skip(text, at + 1)
        elif text[at : at + 1] != "]":
            _decode(path, text, at, expected="a comma or the end of the list")


def _list_inside(text: str, start: int) -> int | None:
    """Where the list of questions begins in the JSON object at `start`.

    None where there is none: then the text is JSON lines, as it also is where further lines follow a whole
    object.
    """
    first, _, rest = text[start:].partition("\n")
    if rest.strip() and _is_whole(first):
        return None
    at = _skip(text, start + 1)
    try:
        while text[at : at + 1] == '"':
            key, at = _DECODER.raw_decode(text, at)
            at = _skip(text, at)
            if text[at : at + 1] != ":":
                return None
            at = _skip(text, at + 1)
            if key in _LISTS and text[at : at + 1] == "[":
                return at
            at = _skip(text, _DECODER.raw_decode(text, at)[1])
            if text[at : at + 1] == ",":
                at = _skip(text, at + 1)
    except (ValueError, RecursionError):
        pass
    return None


def _is_whole(line: str) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _decode(path: Path, text: str, at: int, *, expected: str = "") -> tuple[Any, int]:
    try:
        if expected:
            raise ValueError(f"expected {expected}")
        return _DECODER.raw_decode(text, at)
    except (ValueError, RecursionError) as error:
        position = error.pos if isinstance(error, json.JSONDecodeError) else at
        line = text.count("\n", 0, position) + 1
        raise EvaluationError(f"{path}, line {line}: this is not valid JSON ({_reason(error)}).") from error


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at


def _row(record: Any, place: str, number: int, path: Path) -> Row:
    if not isinstance(record, dict):
        raise EvaluationError(f"{place}: a question must be a JSON object, not {type(record).__name__}.")
    return Row(record, place, number, _stem(path))


def _reason(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return error.msg[:1].lower() + error.msg[1:]
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)


# Tables


def _table(path: Path, text: str, delimiter: str, columns: Sequence[str]) -> Iterator[Row]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    names: Sequence[str] = ()
    number, begun = 0, 1
    try:
        for cells in reader:
            place, begun = f"{path}, line {begun}", reader.line_num + 1
            if not any(cell.strip() for cell in cells):
                continue
            if not names:
                names = [cell.strip() for cell in cells]
                if not columns or columns[0] in names:
                    continue
                names = columns
            if len(cells) != len(names):
                raise EvaluationError(f"{place}: this row has {len(cells)} columns instead of {len(names)}.")
            number += 1
            yield Row(dict(zip(names, cells, strict=True)), place, number, _stem(path))
    except csv.Error as error:
        raise EvaluationError(f"{path}, line {reader.line_num}: this is not valid CSV ({error}).") from error


def _parquet(path: Path) -> Iterator[Row]:
    try:
        parquet, problems = import_module("pyarrow.parquet"), import_module("pyarrow").ArrowException
    except ImportError:
        raise EvaluationError(
            f"Reading {path} needs a library for Parquet: pip install 'blendin-local[datasets]'."
        ) from None
    try:
        records = parquet.read_table(path).to_pylist()
    except FileNotFoundError:
        raise EvaluationError(f"There is no file {path}.") from None
    except (OSError, problems) as error:
        raise EvaluationError(f"Cannot read {path}: {' '.join(str(error).split()).rstrip('.')}.") from error
    for number, record in enumerate(records, 1):
        yield Row(record, f"{path}, row {number}", number, _stem(path))
