"""Read files of published test sets: JSON, JSON lines, CSV, TSV and Parquet, also compressed.

Errors name the file and the line of a row.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from blendin_local.errors import EvaluationError, InputError, PromptError
from blendin_local.inputs.csv_table import CsvTable, format_names
from blendin_local.inputs.json_lines import BOM, fault_of, parse_line, prefix_place
from blendin_local.inputs.messages import kind_of
from blendin_local.inputs.streams import extension_of, lines_of, open_input

__all__ = ["DataRow", "items_of", "read_rows"]

_LISTS = ("examples", "data", "rows")
"""Keys under which a JSON object may hold the list of questions; BIG-bench: `examples`."""

_JSON, _TABLES = (".json", ".jsonl", ".ndjson"), {".csv": ",", ".tsv": "\t"}

_DECODER = json.JSONDecoder()

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class DataRow:
    """One row of a data file.

    place: for errors, such as "FILE, line 3". number: from 1. stem: the file's name without extensions.
    """

    data: Mapping[str, Any]
    place: str
    number: int
    stem: str = ""

    def fail(self, fault: str) -> NoReturn:
        """Raise EvaluationError with the row's place."""
        raise EvaluationError(f"{self.place}: {fault}.")

    def has(self, *names: str) -> bool:
        """Return whether any of these fields exists and is not null."""
        return any(self.data.get(name) is not None for name in names)

    def value(self, *names: str) -> Any:
        """Return the first of these fields that is not null. Raises EvaluationError if all are missing."""
        return self.data[self._present(names)]

    def text(self, *names: str) -> str:
        """Return the first of these fields as stripped text. Raises EvaluationError if it is blank or no
        text.
        """
        name = self._present(names)
        value = self.data[name]
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            self.fail(f"`{name}` must be text, not {kind_of(value)}")
        text = str(value).strip()
        if not text:
            self.fail(f"`{name}` is empty")
        return text

    def optional(self, *names: str) -> str:
        """Return the first of these fields that is not blank, as text, or ""."""
        filled = (name for name in names if self.has(name) and str(self.data[name]).strip())
        return next((self.text(name) for name in filled), "")

    def within(self, name: str) -> DataRow:
        """Return the object in field `name` as a row in the same place."""
        value = self.value(name)
        if not isinstance(value, Mapping):
            self.fail(f"`{name}` must be an object, not {kind_of(value)}")
        return DataRow(value, self.place, self.number, self.stem)

    def _present(self, names: Sequence[str]) -> str:
        for name in names:
            if self.data.get(name) is not None:
                return name
        wanted = " or ".join(f"`{name}`" for name in names)
        known = format_names([str(name) for name in self.data]) or "nothing"
        self.fail(f"this row has no field {wanted} (it has: {known})")


def items_of(rows: Sequence[DataRow], make: Callable[[DataRow], T]) -> list[T]:
    """Apply `make` to every row. Raises EvaluationError with the place of a row that `make` cannot use."""
    made = []
    for row in rows:
        try:
            made.append(make(row))
        except EvaluationError:
            raise
        except PromptError as error:
            raise EvaluationError(prefix_place(row.place, error)) from error
        except (TypeError, ValueError, LookupError, AttributeError) as error:
            reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
            row.fail(f"this row is not of the task's format ({reason})")
    return made


def read_rows(path: Path, *, columns: Sequence[str] = ()) -> list[DataRow]:
    """Return all rows of a file, or of a folder's files in the order of their names.

    columns: names for a CSV file that may lack a header, as MMLU's do; a header holds the first of them.
    Raises InputError for a file that cannot be read, and for one without rows.
    """
    if path.is_dir():
        files = sorted(each for each in path.iterdir() if each.is_file() and _is_data(each))
        if not files:
            raise InputError(f"The folder {path} holds no JSON, JSONL, CSV or Parquet file.")
        return [row for each in files for row in read_rows(each, columns=columns)]
    extension = extension_of(path.name)
    if extension == ".parquet":
        rows = list(_parquet(path))
    elif extension in _TABLES:
        rows = list(_csv(path, _TABLES[extension], columns))
    else:
        rows = list(_json(path))
    if not rows:
        raise InputError(f"{path} holds no rows.")
    return rows


def _is_data(path: Path) -> bool:
    return extension_of(path.name) in (*_JSON, *_TABLES, ".parquet")


def _content(path: Path) -> bytes:
    with open_input(str(path)) as stream:
        try:
            return stream.read().removeprefix(BOM)
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror or error}.") from error


def _row(record: Any, place: str, number: int, path: Path) -> DataRow:
    if not isinstance(record, dict):
        raise InputError(f"{place}: a question must be a JSON object, not {kind_of(record)}.")
    return DataRow(record, place, number, path.name.split(".")[0])


# JSON and JSON lines


def _json(path: Path) -> Iterator[DataRow]:
    content = _content(path)
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}, line {line}: this is not UTF-8 text: save the file as UTF-8.") from None
    start = _skip(text, 0)
    if text[start : start + 1] == "{":
        start = _list_inside(text, start)
    if text[start : start + 1] == "[":
        yield from _list(path, text, start)
    else:
        yield from _lines(path, content)


def _lines(path: Path, content: bytes) -> Iterator[DataRow]:
    """One object on each line; blank lines are skipped but counted."""
    for number, line in enumerate(lines_of(io.BytesIO(content)), 1):
        if line is None or line.strip():
            place = f"{path}, line {number}"
            try:
                record = parse_line(line)
            except InputError as error:
                raise InputError(prefix_place(place, error)) from error
            yield _row(record, place, number, path)


def _list(path: Path, text: str, start: int) -> Iterator[DataRow]:
    """Yield the objects of the JSON list that begins at `start`, each with the line on which it begins."""
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
            raise _fault(path, text, at, "expected a comma or the end of the list")


def _list_inside(text: str, start: int) -> int:
    """Return where the list of questions begins in the JSON object at `start`.

    Returns `start` if there is none: then the text is JSON lines, as it is where more lines follow a whole
    object.
    """
    first, _, rest = text[start:].partition("\n")
    try:
        if rest.strip() and isinstance(json.loads(first), dict):
            return start
    except (ValueError, RecursionError):
        pass
    at = _skip(text, start + 1)
    try:
        while text[at : at + 1] == '"':
            key, at = _DECODER.raw_decode(text, at)
            at = _skip(text, at)
            if text[at : at + 1] != ":":
                break
            at = _skip(text, at + 1)
            if key in _LISTS and text[at : at + 1] == "[":
                return at
            at = _skip(text, _DECODER.raw_decode(text, at)[1])
            if text[at : at + 1] == ",":
                at = _skip(text, at + 1)
    except (ValueError, RecursionError):
        pass
    return start


def _decode(path: Path, text: str, at: int) -> tuple[Any, int]:
    try:
        return _DECODER.raw_decode(text, at)
    except (ValueError, RecursionError) as error:
        position = error.pos if isinstance(error, json.JSONDecodeError) else at
        raise _fault(path, text, position, fault_of(error)) from error


def _fault(path: Path, text: str, at: int, fault: str) -> InputError:
    line = text.count("\n", 0, at) + 1
    return InputError(f"{path}, line {line}: this is not valid JSON ({fault}).")


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at


# Tables


def _csv(path: Path, delimiter: str, columns: Sequence[str]) -> Iterator[DataRow]:
    numbered = enumerate(lines_of(io.BytesIO(_content(path))), 1)
    table = CsvTable(numbered, name=str(path), delimiter=delimiter, columns=columns)
    for number, (line, cells) in enumerate(table, 1):
        place = f"{path}, line {line}"
        try:
            fields = table.fields_of(cells)
        except InputError as error:
            raise InputError(prefix_place(place, error)) from error
        yield _row(fields, place, number, path)


def _parquet(path: Path) -> Iterator[DataRow]:
    try:
        parquet, problems = import_module("pyarrow.parquet"), import_module("pyarrow").ArrowException
    except ImportError:
        raise InputError(
            f"Reading {path} needs a library for Parquet: pip install 'blendin-local[datasets]'."
        ) from None
    try:
        records = parquet.read_table(path).to_pylist()
    except FileNotFoundError:
        raise InputError(f"There is no file {path}.") from None
    except (OSError, problems) as error:
        raise InputError(f"{path} cannot be read: {' '.join(str(error).split()).rstrip('.')}.") from error
    for number, record in enumerate(records, 1):
        yield _row(record, f"{path}, row {number}", number, path)
