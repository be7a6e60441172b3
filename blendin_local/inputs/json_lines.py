"""Decode one line of text or of JSON lines at a time, so that a bad line affects no other."""

from __future__ import annotations

import json
from typing import Any

from blendin_local.errors import InputError
from blendin_local.inputs.streams import LONGEST_LINE

__all__ = ["BOM", "decode_line", "fault_of", "parse_line", "prefix_place"]

BOM = b"\xef\xbb\xbf"


def decode_line(line: bytes | None) -> str:
    """Decode a line of `lines_of`. Raises InputError for one that is too long or not UTF-8."""
    if line is None:
        raise InputError(f"The line is longer than {LONGEST_LINE >> 20} MiB: shorten it.")
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise InputError(
            f"The line is not UTF-8 text (byte {error.start + 1} of it): save the file as UTF-8."
        ) from None


def parse_line(line: bytes | None) -> Any:
    """Parse a line of JSON. Raises InputError, whose sentence does not name the line."""
    text = decode_line(line)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        reason = f"{fault_of(error)}, character {error.pos + 1}"
        raise InputError(f"The line is not JSON ({reason}): write one object on each line.") from None
    except RecursionError:
        raise InputError("The line is JSON that is nested too deeply: flatten it.") from None
    except ValueError:
        raise InputError("The line has a number of too many digits: shorten it.") from None


def fault_of(error: Exception) -> str:
    """Describe an error of the JSON parser in a few words."""
    if isinstance(error, json.JSONDecodeError):
        return error.msg[:1].lower() + error.msg[1:]
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)


def prefix_place(place: str, error: Exception) -> str:
    """Prefix the sentence of a row's error with its place, such as "in.csv, line 3"."""
    sentence = str(error)
    return f"{place}: {sentence[:1].lower()}{sentence[1:]}"
