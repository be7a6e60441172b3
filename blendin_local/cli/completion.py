"""`blendin completion`: print the shell completion script."""

from __future__ import annotations

import os
from pathlib import Path

import click

SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", required=False, type=click.Choice(SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str | None) -> None:
    """Print the completion script for SHELL, by default the shell in $SHELL.

    To install it:

    \b
      bash   blendin completion bash >> ~/.bashrc
      zsh    blendin completion zsh >> ~/.zshrc
      fish   blendin completion fish > ~/.config/fish/completions/blendin.fish

    Then open a new terminal. Bash must be 4.4 or newer; in zsh, `compinit` must run before the script.
    """
    from click.shell_completion import get_completion_class

    name = shell or Path(os.environ.get("SHELL", "")).name
    kind = get_completion_class(name) if name in SHELLS else None
    if kind is None:
        raise click.UsageError(f"Name your shell: {', '.join(SHELLS)}.")
    click.echo(kind(ctx.find_root().command, {}, "blendin", "_BLENDIN_COMPLETE").source())
