"""`blendin web`: serve the chat to a browser on this machine."""

from __future__ import annotations

import shlex
import sys

import click

from blendin_local.errors import BlendinError


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--port", type=click.IntRange(1, 65_535), default=8000, show_default=True,
              help="Port of the server, on localhost only.")  # fmt: skip
@click.argument("options", nargs=-1, type=click.UNPROCESSED, metavar="[CHAT OPTION]...")
@click.pass_context
def web(ctx: click.Context, port: int, options: tuple[str, ...]) -> None:
    """Serve the chat to a browser on this machine.

    Takes the options of `blendin chat`. Each tab is a separate chat process with its own copy of the
    models, which ends when the tab is closed. There is no password: every user of this machine can connect.
    """
    from blendin_local.cli.chat import chat, check

    # Report errors here, not in an empty tab.
    with chat.make_context(ctx.info_name, list(options), parent=ctx.parent) as context:
        check(context.params)
    try:
        from blendin_local.tui.web import ChatServer
    except ImportError as error:
        raise BlendinError(
            "The web server is not installed: run `pip install 'blendin-local[web]'`."
        ) from error
    ChatServer(shlex.join([sys.executable, "-m", "blendin_local", "chat", *options]), port).serve()
