"""`blendin web`: serve the chat to a browser on this machine."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

import click

from blendin_local.errors import BlendinError


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--port", type=click.IntRange(1, 65_535), default=8000, show_default=True,
              help="Port of the server, on localhost only.")  # fmt: skip
@click.option("--tabs", type=click.IntRange(1, 64), default=4, show_default=True,
              help="Most chats at once; each loads both models.")  # fmt: skip
@click.option("--folder", type=click.Path(exists=True, file_okay=False, path_type=Path), default=".",
              show_default="the current one",
              help="The only folder whose files the chats mention, export and import.")  # fmt: skip
@click.argument("options", nargs=-1, type=click.UNPROCESSED, metavar="[CHAT OPTION]...")
@click.pass_context
def web(ctx: click.Context, port: int, tabs: int, folder: Path, options: tuple[str, ...]) -> None:
    """Serve the chat to a browser on this machine.

    Takes the options of `blendin chat`. Each tab is a separate chat process with its own copy of the
    models, which ends when the tab is closed. There is no password: every user of this machine can connect.
    """
    from blendin_local.cli.chat import chat, check
    from blendin_local.files import real_path

    # Report errors here, not in an empty tab.
    with chat.make_context(ctx.info_name, list(options), parent=ctx.parent) as context:
        check(context.params)
    try:
        from blendin_local.tui.web import ChatServer
    except ImportError as error:
        raise BlendinError(
            "The web server is not installed: run `pip install 'blendin-local[web]'`."
        ) from error
    os.environ["BLENDIN_FOLDER"] = str(real_path(folder))
    ChatServer(shlex.join([sys.executable, "-m", "blendin_local", "chat", *options]), port, tabs).serve()
