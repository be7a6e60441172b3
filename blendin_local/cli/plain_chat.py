"""Chat without a full-screen interface: one message per line of stdin, replies on stdout."""

from __future__ import annotations

import io
import secrets
import sys
from dataclasses import replace

import click

from blendin_local.cli.show import ReplyPrinter
from blendin_local.cli.terminal import is_terminal
from blendin_local.engine.chat_backend import ChatBackend, LoadBackend, ReplyRequest, ReplyStream
from blendin_local.engine.interrupt import interrupting
from blendin_local.engine.prompts import Message
from blendin_local.errors import BlendinError
from blendin_local.history.tree import Setup
from blendin_local.settings import GenerationSettings

INTERRUPTED = 130
FAILED = 2


def plain_chat(load: LoadBackend, setup: Setup, *, draw_seed: bool, warning: str = "") -> int:
    """Answer every line of stdin; return the exit status, 2 if a message could not be answered.

    draw_seed: draw a random seed for every reply; otherwise the first uses that of the settings, and each
    later one adds 1. Raises BlendinError if the models cannot be loaded.
    """
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")
    if warning:
        click.secho(warning, err=True, fg="yellow")
    if is_terminal(sys.stderr):
        click.secho("Loading the models …", err=True, dim=True)
    chat = load(lambda role, share: True)
    try:
        return _PlainChat(chat, setup, draw_seed).answer_lines()
    except KeyboardInterrupt:
        return INTERRUPTED
    finally:
        chat.close()


class _PlainChat:
    def __init__(self, chat: ChatBackend, setup: Setup, draw_seed: bool) -> None:
        self._chat = chat
        self._settings = setup.settings
        self._draw_seed = draw_seed
        self._messages = [Message("system", setup.system)] if setup.system.strip() else []

    def answer_lines(self) -> int:
        status = 0
        while (text := _next_line()) is not None:
            if not text.strip():
                continue
            try:
                finished = self._answer(text)
            except BlendinError as error:
                click.echo(f"Error: {error}", err=True)
                status = FAILED
                continue
            if not finished and not is_terminal(sys.stdin):
                return INTERRUPTED
        return status

    def _answer(self, text: str) -> bool:
        """Write the reply to one message; return False if Ctrl-C stopped it."""
        asked = [*self._messages, Message("user", text)]
        reply = self._chat.write(ReplyRequest(tuple(asked), self._next_settings(), candidates=0))
        if dropped := reply.dropped_messages:
            click.echo(f"(The context is full: {dropped} old messages were dropped.)", err=True)
        printer = ReplyPrinter("text", "auto")
        try:
            with interrupting(reply.cancel):
                for step in reply:
                    printer.show(step)
        finally:
            self._keep(asked, reply)
            printer.end(reply.text)
        return reply.finish_reason != "cancelled"

    def _keep(self, asked: list[Message], reply: ReplyStream) -> None:
        # Chat templates require alternating roles, so a message with an empty reply is dropped.
        if reply.text.strip():
            self._messages = [*asked, Message("assistant", reply.text)]

    def _next_settings(self) -> GenerationSettings:
        settings = self._settings
        if self._draw_seed:
            return replace(settings, seed=secrets.randbits(31))
        self._settings = replace(settings, seed=(settings.seed + 1) % (1 << 63))
        return settings


def _next_line() -> str | None:
    """Return the next message; None at the end of the input."""
    if sys.stdin is None:
        return None
    if is_terminal(sys.stdin):
        click.echo("> ", nl=False, err=True)
    line = sys.stdin.readline()
    return line.rstrip("\r\n") if line else None
