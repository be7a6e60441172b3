"""What goes between a program and the one that renders its templates, as JSON objects.

Light to import: the program itself needs neither Jinja nor the texts of templates.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, Any

LENGTH = struct.Struct("<Q")
"""What stands before each object: its length in bytes."""


class TemplateFailed(Exception):
    """A template is invalid, fails, or loses a message; the text goes on after "The prompt template X"."""


@dataclass(frozen=True)
class Rendering:
    """The text of a prompt, and where in it the template's own text lies: (start, end) of each piece."""

    text: str
    written: list[tuple[int, int]]


@dataclass(frozen=True)
class RenderRequest:
    """A conversation, as (role, content), and what a template sees beside it."""

    template: str
    messages: Sequence[tuple[str, str]]
    variables: Mapping[str, Any] = field(default_factory=dict)
    now: float | None = None
    """Seconds since the epoch shown by templates that ask for the time; None for the time of rendering."""


def write_object(file: IO[bytes], value: Any) -> None:
    data = json.dumps(value).encode("ascii")
    file.write(LENGTH.pack(len(data)) + data)
    file.flush()


def read_object(file: IO[bytes]) -> Any:
    """Read one object; None at the end of the file."""
    head = file.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    (length,) = LENGTH.unpack(head)
    data = file.read(length)
    return json.loads(data) if len(data) == length else None
