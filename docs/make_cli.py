"""Write docs/cli.md from the commands' own help (`make docs`); a test fails where it is stale."""

from __future__ import annotations

import os
from pathlib import Path

# Help is wrapped to the terminal: fixed, so that the page is the same everywhere.
os.environ["COLUMNS"] = "100"

import click

from blendin_local.cli import main

PAGE = Path(__file__).with_name("cli.md")


def page() -> str:
    """The page's text."""
    parts = ["# Command line\n", "Written by `make docs` from the commands' own help.\n"]
    for names, command in _walk(main, ("blendin",)):
        context = click.Context(command, info_name=" ".join(names), max_content_width=100, terminal_width=100)
        parts += [f"## {' '.join(names)}\n", f"```text\n{command.get_help(context)}\n```\n"]
    return "\n".join(parts)


def _walk(command: click.Command, names: tuple[str, ...]) -> list[tuple[tuple[str, ...], click.Command]]:
    found = [(names, command)]
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            found += _walk(child, (*names, name))
    return found


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
