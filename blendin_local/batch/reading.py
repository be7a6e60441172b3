"""Read a job's rows from JSON lines, OpenAI batch requests, lines of text or CSV.

An input is opened once and read as a stream, so that the format of a pipe can be detected too. A malformed
row becomes a `BadRow` and reading goes on; an input that holds no rows at all is refused before any model
runs.
"""

from __future__ import annotations

import csv
import os
import re
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any, BinaryIO, Literal

from blendin_local.batch.openai import is_request, request_row
from blendin_local.batch.rows import BadRow, Row, own_settings
from blendin_local.engine.prompts import Message
from blendin_local.errors import InputError, PromptError, SettingError
from blendin_local.inputs.csv_table import CsvTable, format_names
from blendin_local.inputs.json_lines import BOM, decode_line, parse_line
from blendin_local.inputs.messages import (
    id_of,
    kind_of,
    messages_of,
    prompt_of,
    settings_of,
    text_of,
    with_system,
)
from blendin_local.inputs.streams import extension_of, lines_of, open_input
from blendin_local.settings import GenerationSettings

__all__ = ["Format", "InputFormat", "InputOptions", "RowSource", "count_rows", "open_rows"]

Format = Literal["jsonl", "openai", "text", "csv"]
InputFormat = Literal["auto"] | Format

_JSON_NAMES = (".jsonl", ".ndjson", ".json")
_NAMES: dict[str, Format] = {".txt": "text", ".csv": "csv", ".tsv": "csv"}

_REFUSED = {
    b"\xff\xfe": "UTF-16 text: save it as UTF-8",
    b"\xfe\xff": "UTF-16 text: save it as UTF-8",
    b"PAR1": "a Parquet file: make JSON lines or CSV of it",
    b"GGUF": "a model file: name a file of prompts",
    b"PK\x03\x04": "a ZIP archive or a spreadsheet: unpack it, or save it as CSV",
}
"""First bytes of files that hold no lines of text."""

_LIKE_OBJECT = re.compile(rb'\s*\{\s*"')
_LIKE_DOCUMENT = re.compile(rb'\s*(?:\[\s*(?:[\[{"]|$)|\{\s*$)')
"""Matches the first line of an indented JSON document, or of a JSON list."""

_MOST_LINES, _MOST_BYTES = 100, 1 << 20
"""Limits of the look-ahead for a line that shows the format."""

_WITHOUT_COLUMNS = {"text": "lines of text", "openai": "OpenAI batch requests"}


@dataclass(frozen=True, slots=True)
class InputOptions:
    """Location and format of an input.

    path: a file, a pipe, or "-" for standard input. column: the CSV column or JSON key of the prompt; None
    means "prompt", in JSON also "messages". id_column, system_column: column or key of the id and of the
    system prompt; both may be missing from the input.
    """

    path: str
    format: InputFormat = "auto"
    column: str | None = None
    id_column: str = "id"
    system_column: str = "system"

    @property
    def name(self) -> str:
        return "Standard input" if self.path == "-" else self.path


@contextmanager
def open_rows(options: InputOptions) -> Iterator[RowSource]:
    """Open an input and detect its format. Raises InputError where it cannot be opened or holds no rows."""
    with open_input(options.path) as stream:
        yield RowSource(stream, options)


def count_rows(options: InputOptions, limit: int | None = None) -> int | None:
    """Count the rows of a file, up to `limit`; None for a stream, and for an input that cannot be read."""
    if options.path == "-" or not os.path.isfile(options.path):
        return None
    try:
        with open_rows(options) as source:
            return source.count(limit)
    except InputError:
        return None


class RowSource:
    """An open input. format: the detected format. Call `rows` or `count`, once.

    Both raise InputError where reading fails, after all rows before that place.
    """

    def __init__(self, stream: BinaryIO, options: InputOptions) -> None:
        self.options = options
        self._column = options.column or "prompt"
        self._columns = (self._column, options.id_column, options.system_column)
        self._lines = _NumberedLines(stream)
        self.format = self._detect_format()
        self._table = self._open_table() if self.format == "csv" else None

    def rows(self, run: GenerationSettings, system: str) -> Iterator[Row | BadRow]:
        """Yield every row, with the settings of `run` changed by its own.

        system: the system prompt of rows that give none.
        """
        for index, (number, raw) in enumerate(self._raw()):
            yield self._row(index, f"line {number}", raw, run, system)

    def count(self, limit: int | None = None) -> int:
        return sum(1 for _ in islice(self._raw(), limit))

    def _raw(self) -> Iterator[tuple[int, Any]]:
        """The lines or CSV records that become rows, each with the number of its first line."""
        return iter(self._table or (each for each in self._lines if not _is_blank(each[1])))

    def _row(self, index: int, where: str, raw: Any, run: GenerationSettings, system: str) -> Row | BadRow:
        id = f"row-{index + 1}"
        try:
            document = self._parse(raw)
            if self.format == "openai":
                return request_row(document, index, where, run, system)
            id = id_of(document.get(self.options.id_column), self.options.id_column) or id
            messages = self._messages(document)
            name = self.options.system_column
            if document.get(name) is not None:
                system = text_of(document[name], f"`{name}`")
            own = settings_of(document.get("settings") if self.format == "jsonl" else None)
            settings = own_settings(run, own, id)
        except (InputError, PromptError, SettingError) as error:
            return BadRow(id, index, where, str(error))
        return Row(id, index, where, with_system(messages, system), settings, own)

    def _parse(self, raw: Any) -> Any:
        """A row as a dict of its fields; an OpenAI request as any JSON value."""
        if self._table:
            fields = self._table.fields_of(raw, self._columns)
            return {name: field for name, field in fields.items() if field or name == self._column}
        if self.format == "text":
            return {self._column: decode_line(raw).rstrip("\r\n")}
        document = parse_line(raw)
        if self.format == "jsonl":
            if isinstance(document, str):
                return {self._column: document}
            if not isinstance(document, dict):
                raise PromptError(f"A row must be a JSON object or a text, not {kind_of(document)}.")
        return document

    def _messages(self, document: dict[str, Any]) -> tuple[Message, ...]:
        prompt = document.get(self._column)
        if prompt is not None:
            return prompt_of(prompt, self._column)
        if not self.options.column and document.get("messages") is not None:
            return messages_of(document["messages"], "messages")
        raise PromptError(f"The row has no `{self._column}`{_keys_of(document)}.")

    def _detect_format(self) -> Format:
        """Detect the format by the first lines that are not blank. Raises InputError for a foreign one."""
        line, name = next(self._lines.first(), b"") or b"", self.options.name
        for start, what in _REFUSED.items():
            if line.startswith(start):
                raise InputError(f"{name} is {what}.")
        format = self._named_format(line)
        if format not in ("text", "csv") and _LIKE_DOCUMENT.match(line):
            raise InputError(
                f"{name} is one JSON document of many lines or a list: make JSON lines of it, an object "
                "on each line (for a list: jq -c '.[]')."
            )
        if format == "auto":
            format = "openai" if is_request(self._first_document()) else "jsonl"
        if format == "jsonl":
            self._check_keys(self._first_document())
        if line:
            self._check_columns(format)
        return format

    def _named_format(self, line: bytes) -> InputFormat:
        """The format by the file's name and first line; "auto" for JSON lines of either kind."""
        if self.options.format != "auto":
            return self.options.format
        extension = extension_of(self.options.path)
        if extension in _NAMES:
            return _NAMES[extension]
        is_json = extension in _JSON_NAMES or _LIKE_OBJECT.match(line) or _LIKE_DOCUMENT.match(line)
        return "auto" if is_json or isinstance(_parsed_or_none(line), (dict, str)) else "text"

    def _first_document(self) -> Any:
        """The first JSON object or string within the look-ahead; None if there is none."""
        documents = (_parsed_or_none(line or b"") for line in self._lines.first())
        return next((each for each in documents if isinstance(each, (dict, str))), None)

    def _open_table(self) -> CsvTable:
        name = self.options.name
        table = CsvTable(iter(self._lines), name=name, delimiter=self._delimiter())
        if table.names and self._column not in table.names:
            raise self._without_prompt("there is no column", table.names)
        for column in self._columns:
            if table.names.count(column) > 1:
                raise InputError(f"{name} has several columns `{column}`: rename all but one.")
        return table

    def _delimiter(self) -> str:
        """The delimiter that the first line states, or else the one by which the header names the prompt."""
        first = next(self._lines.first(), None) or b""
        if stated := re.fullmatch(rb'"?sep=([^"\r\n ])"?\s*', first):
            next(iter(self._lines))
            return chr(stated[1][0])
        usual = "\t" if extension_of(self.options.path) == ".tsv" else ","
        delimiters: list[str] = [usual, *",;\t|"]
        for delimiter in delimiters:
            with suppress(csv.Error):
                names = next(csv.reader([first.decode("utf-8", "replace")], delimiter=delimiter), [])
                if self._column in [name.strip() for name in names]:
                    return delimiter
        return usual

    def _check_columns(self, format: Format) -> None:
        """Refuse column options for a format without columns."""
        if format not in _WITHOUT_COLUMNS:
            return
        named = {
            "--column": self._column != "prompt",
            "--id-column": self.options.id_column != "id",
            "--system-column": self.options.system_column != "system",
        }
        if flags := " and ".join(flag for flag, is_named in named.items() if is_named):
            raise InputError(
                f"{self.options.name} holds {_WITHOUT_COLUMNS[format]}, and has no columns: leave out "
                f"{flags}, or say with --input-format what else it is."
            )

    def _check_keys(self, document: Any) -> None:
        """Refuse a data set whose prompts stand under another key: all its rows would fail."""
        if not isinstance(document, dict):
            return
        known = (*self._columns, "settings")
        looks_like_data = any(isinstance(value, str) for key, value in document.items() if key not in known)
        found = self._column in document or (not self.options.column and "messages" in document)
        if looks_like_data and not found:
            raise self._without_prompt("its first row has no", list(document))

    def _without_prompt(self, what: str, names: list[str]) -> InputError:
        return InputError(
            f"{self.options.name}: {what} `{self._column}` (there are: {format_names(names)}). Name the one "
            "that holds the prompts with --column."
        )


class _NumberedLines:
    """Lines numbered from 1, without byte order marks, with a look-ahead that consumes none.

    Raises InputError where reading fails; in the look-ahead only if the first line cannot be read.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._lines = ((number, _without_bom(line)) for number, line in enumerate(lines_of(stream), 1))
        self._ahead: deque[tuple[int, bytes | None]] = deque()
        self._damage: InputError | None = None

    def first(self) -> Iterator[bytes | None]:
        """Look ahead at a bounded number of lines that are not blank."""
        place, n_bytes = 0, 0
        while place < _MOST_LINES and n_bytes < _MOST_BYTES and (place < len(self._ahead) or self._more()):
            line = self._ahead[place][1]
            yield line
            place, n_bytes = place + 1, n_bytes + len(line or b"")

    def __iter__(self) -> Iterator[tuple[int, bytes | None]]:
        while self._ahead:
            yield self._ahead.popleft()
        if self._damage:
            raise self._damage
        yield from self._lines

    def _more(self) -> bool:
        """Read one more line into the look-ahead; False at the end of the input."""
        if self._damage:
            return False
        try:
            found = next((each for each in self._lines if not _is_blank(each[1])), None)
        except InputError as error:
            if not self._ahead:
                raise
            self._damage, found = error, None
        if found:
            self._ahead.append(found)
        return found is not None


def _without_bom(line: bytes | None) -> bytes | None:
    return line.removeprefix(BOM) if line else line


def _is_blank(line: bytes | None) -> bool:
    return line is not None and not line.strip()


def _parsed_or_none(line: bytes) -> Any:
    try:
        return parse_line(line)
    except InputError:
        return None


def _keys_of(document: dict[str, Any]) -> str:
    return f" (it has: {format_names(list(document))})" if document else ""
