"""Corrections of errors in Textual; importing this module installs them."""

from __future__ import annotations

import codecs
import sys
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Literal, cast

from textual import _ansi_sequences
from textual._xterm_parser import BRACKETED_PASTE_END, BRACKETED_PASTE_START, XTermParser
from textual.content import Content
from textual.keys import Keys
from textual.message import Message
from textual.widgets import OptionList

from blendin_local.safe_text import sanitize

_ESC = "\x1b"

# Terminals without a keyboard protocol report alt+enter as escape and return, which Textual parses as a
# plain enter: it would send a message that was meant to continue.
cast(dict[str, Any], _ansi_sequences.ANSI_SEQUENCES_KEYS).setdefault("\x1b\r", (Keys.ControlJ,))


class PasteFilter:
    """Replaces escape characters inside bracketed pastes by a visible symbol.

    Textual parses them as the start of a key: the characters after them would leave the pasted text and be
    typed, control keys and Enter included.
    """

    def __init__(self) -> None:
        self._pasting = False
        self._before = ""
        """The last characters before `data`, which may be the start of a paste's opening sequence."""
        self._held = ""
        """Characters of a paste that may be the start of its closing sequence."""

    def filter(self, data: str) -> str:
        """Return a chunk of terminal input for the parser; its end may be held until the next chunk."""
        passed = ""
        while data:
            if self._pasting:
                text, end, data = (self._held + data).partition(BRACKETED_PASTE_END)
                self._held = "" if end else _started_end(text)
                passed += text.removesuffix(self._held).replace(_ESC, sanitize(_ESC)) + end
                self._pasting = not end
            else:
                keys, start, rest = (self._before + data).partition(BRACKETED_PASTE_START)
                passed += (keys + start)[len(self._before) :]
                self._before = "" if start else keys[1 - len(BRACKETED_PASTE_START) :]
                self._pasting, data = bool(start), rest
        return passed


def _started_end(text: str) -> str:
    """Return the end of a text that may be the start of a paste's closing sequence."""
    starts = (BRACKETED_PASTE_END[:n] for n in range(len(BRACKETED_PASTE_END) - 1, 0, -1))
    return next(filter(text.endswith, starts), "")


_parse, _wrap, _move_page = XTermParser.feed, Content._wrap_and_format, OptionList._move_page


def _feed(parser: XTermParser, data: str) -> Iterable[Message]:
    pastes = parser.__dict__.setdefault("pastes", PasteFilter())
    passed = pastes.filter(data)
    # Empty data means the end of the input.
    return _parse(parser, passed) if passed or not data else ()


def _lenient_decoder(encoding: str) -> Callable[[], codecs.IncrementalDecoder]:
    return partial(codecs.getincrementaldecoder(encoding), "replace")


def _wrap_to_a_cell(content: Content, width: int, *options: Any, **named: Any) -> Any:
    return _wrap(content, max(width, 1), *options, **named)


def _move_page_in_view(options: OptionList, direction: Literal[-1, 1]) -> None:
    if options.scrollable_content_region:
        _move_page(options, direction)


XTermParser.feed = _feed  # type: ignore[assignment]

if sys.platform != "win32":
    from textual.drivers import linux_driver

    # A byte that is not UTF-8, which terminals with another encoding send, would end the app.
    linux_driver.getincrementaldecoder = _lenient_decoder  # type: ignore[attr-defined, assignment]

# In terminals of a few columns and rows, widgets have no room at all: wrapping their text would raise
# ValueError, and paging through their lists KeyError.
Content._wrap_and_format = _wrap_to_a_cell  # type: ignore[assignment]
OptionList._move_page = _move_page_in_view  # type: ignore[assignment]
