"""Inputs of offline generation: JSON lines, OpenAI batch requests, lines of text and CSV become rows.

An input is opened once and read as a stream, so that a pipe can be looked at before it is read. A row that is
wrong is a `BadRow`, and the rest goes on; an input that is wrong as a whole is refused before anything runs.
Nothing here knows models or outputs.
"""

from __future__ import annotations

import json
import os
import re
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, BinaryIO, Literal

from blendin_local.batch.openai import is_request, request_row
from blendin_local.batch.rows import BadRow, Row, own_settings
from blendin_local.engine.prompts import Message
from blendin_local.errors import BatchError, PromptError, SettingError
from blendin_local.inputs.csv_table import Table, named
from blendin_local.inputs.messages import (
    id_of,
    kind_of,
    messages_of,
    prompt_of,
    settings_of,
    text_of,
    with_system,
)
from blendin_local.inputs.streams import LONGEST_LINE, compression_of, lines_of, open_input
from blendin_local.settings import GenerationSettings

__all__ = ["Format", "InputFormat", "InputOptions", "RowSource", "count_rows", "open_rows"]

Format = Literal["jsonl", "openai", "text", "csv"]
InputFormat = Literal["auto"] | Format

_BOM = b"\xef\xbb\xbf"

_JSON_NAMES = (".jsonl", ".ndjson", ".json")
_NAMES: dict[str, Format] = {".txt": "text", ".csv": "csv", ".tsv": "csv"}

_REFUSED = {
    b"\xff\xfe": "UTF-16 text: save it as UTF-8",
    b"\xfe\xff": "UTF-16 text: save it as UTF-8",
    b"PAR1": "a Parquet file: make JSON lines or CSV of it",
    b"GGUF": "a model file: name a file of prompts",
    b"PK\x03\x04": "a ZIP archive or a spreadsheet: unpack it, or save it as CSV",
}
"""How files begin that hold no lines of text."""

_LIKE_OBJECT = re.compile(rb'\s*\{\s*"')
_LIKE_DOCUMENT = re.compile(rb'\s*(?:\[\s*(?:[\[{"]|$)|\{\s*$)')
"""A first line that only a JSON document of many lines, or a list on one line, begins with."""


_MOST_LINES, _MOST_BYTES = 100, 1 << 20
"""So much is looked at for a line that tells the format, where the first cannot be read."""

_WITHOUT_COLUMNS = {"text": "lines of text", "openai": "OpenAI batch requests"}


@dataclass(frozen=True, slots=True)
class InputOptions:
    """Where rows come from and how they are read.

    path: a file, a pipe, or "-" for standard input. column: the CSV column or JSON key that holds the prompt;
    None is "prompt", or of JSON also "messages". id_column, system_column: the same for ids and system
    prompts, which need not be there.
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
    """An input, opened. Raises BatchError where it cannot be opened or is nothing to read rows from."""
    with open_input(options.path) as stream:
        yield RowSource(stream, options)


def count_rows(options: InputOptions, limit: int | None = None) -> int | None:
    """How many rows an input has, at most `limit`; None for what cannot be read twice, or not so far."""
    if options.path == "-" or not os.path.isfile(options.path):
        return None
    try:
        with open_rows(options) as source:
            return source.count(limit)
    except BatchError:
        return None


class RowSource:
    """An opened input. format: what it is. `rows` or `count` read it to its end, once.

    What came before a place where the input cannot be read any further is given first; then BatchError.
    """

    def __init__(self, stream: BinaryIO, options: InputOptions) -> None:
        self.options = options
        self._column = options.column or "prompt"
        self._columns = (self._column, options.id_column, options.system_column)
        self._lines = _NumberedLines(stream)
        self.format = self._examine()
        self._table = self._opened_table() if self.format == "csv" else None

    def rows(self, run: GenerationSettings, system: str) -> Iterator[Row | BadRow]:
        """Every row with the settings of `run` and its own. `system` is for rows that name none."""
        for index, (number, raw) in enumerate(self._raw()):
            yield self._row(index, f"line {number}", raw, run, system)

    def count(self, limit: int | None = None) -> int:
        return sum(1 for _ in islice(self._raw(), limit))

    def _raw(self) -> Iterator[tuple[int, Any]]:
        """What becomes a row, each with the number of its (first) line."""
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
        except (PromptError, SettingError) as error:
            return BadRow(id, index, where, str(error))
        return Row(id, index, where, with_system(messages, system), settings, own)

    def _parse(self, raw: Any) -> Any:
        """An object for each row, whatever the format; of OpenAI's requests whatever stands there."""
        if self._table:
            fields = self._table.fields_of(raw, self._columns)
            return {name: field for name, field in fields.items() if field or name == self._column}
        if self.format == "text":
            return {self._column: _decoded(raw).rstrip("\r\n")}
        document = _json(raw)
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

    def _examine(self) -> Format:
        """The format, by the first lines that are not blank. Raises BatchError where it leads nowhere."""
        line, name = next(self._lines.first(), b"") or b"", self.options.name
        for start, what in _REFUSED.items():
            if line.startswith(start):
                raise BatchError(f"{name} is {what}.")
        format = self._told_format(line)
        if format not in ("text", "csv") and _LIKE_DOCUMENT.match(line):
            raise BatchError(
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

    def _told_format(self, line: bytes) -> InputFormat:
        """What the name and the first line tell; "auto" for JSON lines of whichever kind."""
        if self.options.format != "auto":
            return self.options.format
        extension = _extension(self.options.path)
        if extension in _NAMES:
            return _NAMES[extension]
        is_json = extension in _JSON_NAMES or _LIKE_OBJECT.match(line) or _LIKE_DOCUMENT.match(line)
        return "auto" if is_json or isinstance(_json_or_none(line), (dict, str)) else "text"

    def _first_document(self) -> Any:
        """What the first line holds that is an object or a text in JSON; None where none is near."""
        documents = (_json_or_none(line or b"") for line in self._lines.first())
        return next((each for each in documents if isinstance(each, (dict, str))), None)

    def _opened_table(self) -> Table:
        name = self.options.name
        delimiter = "\t" if _extension(self.options.path) == ".tsv" else ","
        table = Table(iter(self._lines), name=name, delimiter=delimiter)
        if table.names and self._column not in table.names:
            raise self._without_prompt("there is no column", table.names)
        for column in self._columns:
            if table.names.count(column) > 1:
                raise BatchError(f"{name} has several columns `{column}`: rename all but one.")
        return table

    def _check_columns(self, format: Format) -> None:
        """Refuse names of columns for what has none."""
        if format not in _WITHOUT_COLUMNS:
            return
        named = {
            "--column": self._column != "prompt",
            "--id-column": self.options.id_column != "id",
            "--system-column": self.options.system_column != "system",
        }
        if flags := " and ".join(flag for flag, is_named in named.items() if is_named):
            raise BatchError(
                f"{self.options.name} holds {_WITHOUT_COLUMNS[format]}, and has no columns: leave out "
                f"{flags}, or say with --input-format what else it is."
            )

    def _check_keys(self, document: Any) -> None:
        """Refuse JSON lines that are a data set with its prompts under another key, thousands of them."""
        if not isinstance(document, dict):
            return
        known = (*self._columns, "settings")
        looks_like_data = any(isinstance(value, str) for key, value in document.items() if key not in known)
        found = self._column in document or (not self.options.column and "messages" in document)
        if looks_like_data and not found:
            raise self._without_prompt("its first row has no", list(document))

    def _without_prompt(self, what: str, names: list[str]) -> BatchError:
        return BatchError(
            f"{self.options.name}: {what} `{self._column}` (there are: {named(names)}). Name the one that "
            "holds the prompts with --column."
        )


class _NumberedLines:
    """Lines with their numbers from 1, without byte order marks. The first may be looked at beforehand.

    Raises BatchError where not even the first can be read, else at the place of the damage.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._coming = ((number, _without_bom(line)) for number, line in enumerate(lines_of(stream), 1))
        self._looked_at: deque[tuple[int, bytes | None]] = deque()
        self._damage: BatchError | None = None

    def first(self) -> Iterator[bytes | None]:
        """The first lines that are not blank, a bounded number of them, before any is taken."""
        place, n_bytes = 0, 0
        while (
            place < _MOST_LINES and n_bytes < _MOST_BYTES and (place < len(self._looked_at) or self._more())
        ):
            line = self._looked_at[place][1]
            yield line
            place, n_bytes = place + 1, n_bytes + len(line or b"")

    def __iter__(self) -> Iterator[tuple[int, bytes | None]]:
        while self._looked_at:
            yield self._looked_at.popleft()
        if self._damage:
            raise self._damage
        yield from self._coming

    def _more(self) -> bool:
        """Take in another line to be looked at, if there is one."""
        if self._damage:
            return False
        try:
            found = next((each for each in self._coming if not _is_blank(each[1])), None)
        except BatchError as error:
            if not self._looked_at:
                raise
            self._damage, found = error, None
        if found:
            self._looked_at.append(found)
        return found is not None


def _extension(path: str) -> str:
    name = path.lower()
    if compression_of(name) != "none":
        name = os.path.splitext(name)[0]
    return os.path.splitext(name)[1]


def _without_bom(line: bytes | None) -> bytes | None:
    return line.removeprefix(_BOM) if line else line


def _is_blank(line: bytes | None) -> bool:
    return line is not None and not line.strip()


def _decoded(line: bytes | None) -> str:
    if line is None:
        raise PromptError(f"The line is longer than {LONGEST_LINE >> 20} MiB: shorten it.")
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise PromptError(
            f"The line is not UTF-8 text (byte {error.start + 1} of it): save the file as UTF-8."
        ) from None


def _json(line: bytes | None) -> Any:
    text = _decoded(line)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        reason = f"{error.msg[:1].lower()}{error.msg[1:]}, character {error.pos + 1}"
        raise PromptError(f"The line is not JSON ({reason}): write one object on each line.") from None
    except RecursionError:
        raise PromptError("The line is JSON that is nested too deeply: flatten it.") from None
    except ValueError:
        raise PromptError("The line has a number of too many digits: shorten it.") from None


def _json_or_none(line: bytes) -> Any:
    try:
        return _json(line)
    except PromptError:
        return None


def _keys_of(document: dict[str, Any]) -> str:
    return f" (it has: {named(list(document))})" if document else ""
