"""The chat without a screen: a message on each line of stdin, its reply on stdout."""

from __future__ import annotations

import sys

import click

from blendin_local.cli.interrupt import interrupting
from blendin_local.cli.show import ReplyPrinter
from blendin_local.errors import BlendinError
from blendin_local.tui.chat import Chat, Load

INTERRUPTED = 130
FAILED = 2


def plain_chat(load: Load, *, warning: str = "") -> int:
    """Answer every line of stdin; returns the exit status, 2 if a message could not be answered.

    Raises BlendinError where the models cannot be loaded.
    """
    if hasattr(sys.stdin, "reconfigure"):
        sys.stdin.reconfigure(errors="replace")
    if warning:
        click.secho(warning, err=True, fg="yellow")
    if sys.stderr.isatty():
        click.secho("Loading the models …", err=True, dim=True)
    chat = load(lambda role, share: True)
    try:
        return _answer_lines(chat)
    except KeyboardInterrupt:
        return INTERRUPTED
    finally:
        chat.close()


def _answer_lines(chat: Chat) -> int:
    status = 0
    while (text := _next_line()) is not None:
        if not text.strip():
            continue
        try:
            finished = _answer(chat, text)
        except BlendinError as error:
            click.echo(f"Error: {error}", err=True)
            status = FAILED
            continue
        if not finished and not sys.stdin.isatty():
            return INTERRUPTED
    return status


def _next_line() -> str | None:
    """The next message; None at the end of the input."""
    if sys.stdin.isatty():
        click.echo("> ", nl=False, err=True)
    line = sys.stdin.readline()
    return line.rstrip("\r\n") if line else None


def _answer(chat: Chat, text: str) -> bool:
    """Write the reply to one message; False if Ctrl-C ended it."""
    reply = chat.send(text)
    if dropped := reply.dropped_messages:
        click.echo(f"(left out, because the context is full: {dropped} old messages)", err=True)
    printer = ReplyPrinter("text", "auto")
    try:
        with interrupting(reply.cancel):
            for step in reply:
                printer.show(step)
    finally:
        chat.keep(reply)
        printer.end(reply.text)
    return reply.finish_reason != "cancelled"
