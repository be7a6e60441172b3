"""`blendin web`: the chat in a browser on this machine."""

from __future__ import annotations

import shlex
import sys

import click

from blendin_local.errors import BlendinError


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--port", type=click.IntRange(1, 65_535), default=8000, show_default=True)
@click.argument("options", nargs=-1, type=click.UNPROCESSED, metavar="[CHAT OPTION]...")
@click.pass_context
def web(ctx: click.Context, port: int, options: tuple[str, ...]) -> None:
    """Serve the chat to a browser on this machine.

    Takes the options of `blendin chat`. Every tab is a chat of its own, which loads the models again and
    ends with the tab. There is no password: whoever can open a connection from this machine can chat.
    """
    from blendin_local.cli.chat import chat, check

    # What is wrong is said here, not in an empty tab.
    with chat.make_context(ctx.info_name, list(options), parent=ctx.parent) as context:
        check(context.params)
    try:
        from blendin_local.tui.web import ChatServer
    except ImportError as error:
        raise BlendinError(
            "The web server is not installed: run `pip install 'blendin-local[web]'`."
        ) from error
    ChatServer(shlex.join([sys.executable, "-m", "blendin_local", "chat", *options]), port).serve()
