"""Chat without a full-screen interface: one message per line of stdin, replies on stdout."""

from __future__ import annotations

import io
import secrets
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from blendin_local.api.pair import load_files
from blendin_local.api.reply import Chat
from blendin_local.cli import INTERRUPTED
from blendin_local.cli.show import ReplyPrinter
from blendin_local.cli.terminal import is_terminal
from blendin_local.engine.interrupt import interrupting
from blendin_local.errors import BlendinError
from blendin_local.models.loading import locate_pair, name_pair
from blendin_local.presentation.progress_display import Display
from blendin_local.safe_text import sanitize

if TYPE_CHECKING:
    from blendin_local.tui.loading import Preparer

FAILED = 2


def plain_chat(preparer: Preparer, names: Sequence[str], *, draw_seed: bool) -> int:
    """Answer every line of stdin; return the exit status, 2 if a message could not be answered.

    names: of pair, base and guide, "" if not given. draw_seed: draw a random seed for every reply;
    otherwise the first uses that of the settings, and each later one adds 1. Raises BlendinError if the
    models cannot be loaded.
    """
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")
    catalogue = preparer.catalogue()
    files = locate_pair(catalogue, name_pair(catalogue, *(name or None for name in names)))
    settings = preparer.settings(files.entry)
    with Display() as display:
        pair = load_files(files, preparer.options, preparer.formats, display)
    with pair:
        return _answer_lines(pair.chat(system=preparer.system, settings=settings), draw_seed)


def _answer_lines(chat: Chat, draw_seed: bool) -> int:
    status = 0
    while (text := _next_line()) is not None:
        if not text.strip():
            continue
        try:
            finished = _answer(chat, text, draw_seed)
        except BlendinError as error:
            click.echo(f"Error: {sanitize(str(error))}", err=True)
            status = FAILED
            continue
        if not finished and not is_terminal(sys.stdin):
            return INTERRUPTED
    return status


def _answer(chat: Chat, text: str, draw_seed: bool) -> bool:
    """Write the reply to one message; return False if Ctrl-C stopped it."""
    reply = chat.send(text, **({"seed": secrets.randbits(31)} if draw_seed else {}))
    if dropped := reply.dropped_messages:
        click.echo(f"(The context is full: {dropped} old messages were dropped.)", err=True)
    printer = ReplyPrinter("text", "auto")
    try:
        with interrupting(reply.cancel):
            for step in reply.follow():
                printer.show(step)
    finally:
        printer.end(reply.text)
    return reply.finish_reason != "cancelled"


def _next_line() -> str | None:
    """Return the next message; None at the end of the input."""
    if sys.stdin is None:
        return None
    if is_terminal(sys.stdin):
        click.echo("> ", nl=False, err=True)
    line = sys.stdin.readline()
    return line.rstrip("\r\n").removeprefix("\ufeff") if line else None
