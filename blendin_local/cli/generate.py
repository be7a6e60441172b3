"""`blendin generate`: write one blended reply to stdout, or replies to a file of prompts."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from blendin_local.cli import INTERRUPTED
from blendin_local.cli.generate_options import (
    check_no_rows_options,
    check_rows_options,
    output_options,
    prompt_options,
    rows_options,
    seed_option,
)
from blendin_local.cli.grouped_help import GroupedCommand
from blendin_local.cli.options import (
    length_options,
    method_options,
    model_options,
    pair_options,
    read_generation_arguments,
    read_text,
    sampling_options,
)
from blendin_local.cli.terminal import is_terminal
from blendin_local.errors import PromptError, SettingError

if TYPE_CHECKING:
    from blendin_local.api.reply import Reply


@click.command(cls=GroupedCommand)
@click.argument("prompt", required=False)
@pair_options()
@prompt_options
@method_options
@length_options
@output_options
@seed_option
@sampling_options
@rows_options
@model_options
def generate(prompt: str | None, file: str | None, **values: Any) -> None:
    """Write one blended reply to PROMPT, to the text of --file, or to standard input.

    The reply is streamed to stdout, in a terminal coloured by the model that each token comes from; a
    summary goes to stderr. Ctrl-C stops the reply.

    With --input and --output, answer every row of a file, several at once (docs/batch.md). Each answer is
    written as soon as it is complete; the same command resumes a stopped job.
    """
    if values["input"] is not None:
        from blendin_local.cli.generate_rows import generate_rows

        check_rows_options(prompt, file, values)
        generate_rows(values)
        return
    check_no_rows_options()
    _check_output(values)
    text = _prompt_text(prompt, file)

    from blendin_local.api.pair import load_files
    from blendin_local.engine.prompts import Message
    from blendin_local.presentation.progress_display import Display

    files, settings, options, formats = read_generation_arguments(values)
    with Display(quiet=values["quiet"]) as display:
        pair = load_files(files, options, formats, display)
    with pair:
        reply = pair.reply(
            [Message("user", text)],
            settings=settings,
            system=values["system"] or "",
            candidates=values["candidates"],
        )
        _print_reply(reply, values, calibrated=pair.models.pair.calibrated)
    if reply.finish_reason == "cancelled":
        sys.exit(INTERRUPTED)


def _print_reply(reply: Reply, values: Mapping[str, Any], *, calibrated: bool) -> None:
    """Decode the reply while printing it, or print its JSON document."""
    from blendin_local.cli.show import ReplyPrinter, summary_line
    from blendin_local.engine.interrupt import interrupting
    from blendin_local.presentation.plain_data import to_json

    printer = (
        None if values["as_json"] else ReplyPrinter(values["view"], values["color"], quiet=values["quiet"])
    )
    with interrupting(reply.cancel):
        for step in reply.follow():
            if printer:
                printer.show(step)
    if not printer:
        click.echo(to_json(reply.to_dict(steps=values["with_steps"])))
        return
    printer.end(reply.text)
    if not values["quiet"]:
        click.secho(summary_line(reply, calibrated), err=True, dim=True)


def _check_output(values: Mapping[str, Any]) -> None:
    """Raise SettingError for output options that contradict each other or have no effect."""
    if values["as_json"]:
        if values["view"] == "tokens":
            raise SettingError("--view tokens and --json exclude each other: use --json --steps.")
    elif values["with_steps"]:
        raise SettingError("--steps needs --json: give both, or --view tokens for one line per step.")
    if values["candidates"] and not values["with_steps"]:
        raise SettingError("--candidates needs --steps: give --json, --steps and --candidates together.")


def _prompt_text(prompt: str | None, file: str | None) -> str:
    if prompt is not None and file is not None:
        raise PromptError("Give the prompt as an argument or with --file, not both.")
    if prompt is None and file is None:
        if sys.stdin is None or is_terminal(sys.stdin):
            raise PromptError('There is no prompt: try blendin generate "What is the capital of France?"')
        file = "-"
    text = prompt if prompt is not None else read_text(file or "-")
    if not text.strip():
        raise PromptError("The prompt is empty: give the models something to answer.")
    return text
