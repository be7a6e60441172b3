"""The command line: one module for each command, imported when the command runs."""

from __future__ import annotations

import errno
import os
import sys
from importlib import import_module
from typing import Any

import click

from blendin_local import __version__
from blendin_local.errors import BlendinError
from blendin_local.safe_text import sanitize

INTERRUPTED = 130
_COMMANDS = ("generate", "chat", "tune", "compare", "models", "bench", "config", "completion", "web")


class LazyGroup(click.Group):
    """Imports a command's module when the command is called; prints a `BlendinError` as one sentence."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"blendin_local.cli.{cmd_name}"), cmd_name)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BlendinError as error:
            if os.environ.get("BLENDIN_TRACEBACK"):
                raise
            raise Failure(sanitize(str(error))) from error
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)
        except OSError as error:
            # A closed pipe is not an error: click exits quietly.
            if error.errno == errno.EPIPE or os.environ.get("BLENDIN_TRACEBACK"):
                raise
            name = sanitize(str(error.filename))[:80] if error.filename else "a file"
            raise Failure(
                f"The system refused to read or write {name}: {error.strerror or error}."
            ) from error


class Failure(click.ClickException):
    """One sentence on stderr and exit code 2."""

    exit_code = 2


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="blendin")
def main() -> None:
    """Blend two quantized GGUF models token by token.

    The base model generates the text; the guide model is consulted where the base is unsure. Start with
    `blendin models pull` (the demo pair, 350 MB) and `blendin chat`.
    """
    if sys.stdout is not None and hasattr(sys.stdout, "reconfigure"):
        # A reply may contain characters that the encoding of stdout lacks.
        sys.stdout.reconfigure(errors="replace")
