"""`blendin generate`: write one blended reply to stdout, or replies to a file of prompts."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

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
    formats_of,
    generation_settings_of,
    length_options,
    method_options,
    model_options,
    model_options_of,
    pair_options,
    read_text,
    sampling_options,
)
from blendin_local.cli.terminal import is_terminal
from blendin_local.errors import PromptError, SettingError


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
    from blendin_local.cli.show import ReplyPrinter, summary_line
    from blendin_local.engine.interrupt import interrupting
    from blendin_local.engine.prompts import Message
    from blendin_local.models.catalogue import load_catalogue
    from blendin_local.models.loading import locate_pair, name_pair
    from blendin_local.preferences.preferences import load_preferences
    from blendin_local.presentation.plain_data import to_json
    from blendin_local.presentation.progress_display import Display

    catalogue, preferences = load_catalogue(), load_preferences()
    entry = name_pair(catalogue, values["pair"], values["base"], values["guide"])
    seed = (preferences.seed or 0) if values["seed"] is None else values["seed"]
    settings = generation_settings_of(values, entry, seed, preferences)
    options = model_options_of(values, preferences.models)
    formats = formats_of(values, preferences.formats)
    files = locate_pair(catalogue, entry)
    with Display(quiet=values["quiet"]) as display:
        pair = load_files(files, options, formats, display)
    with pair:
        reply = pair.reply(
            [Message("user", text)],
            settings=settings,
            system=values["system"] or "",
            candidates=values["candidates"],
        )
        printer = None if values["as_json"] else ReplyPrinter(values["view"], values["color"])
        with interrupting(reply.cancel):
            for step in reply.follow():
                if printer:
                    printer.show(step)
        if printer:
            printer.end(reply.text)
            if not values["quiet"]:
                click.secho(summary_line(reply, pair.models.pair.calibrated), err=True, dim=True)
        else:
            click.echo(to_json(reply.to_dict(steps=values["with_steps"])))
    if reply.finish_reason == "cancelled":
        sys.exit(INTERRUPTED)


def _check_output(values: Mapping[str, Any]) -> None:
    """Raise SettingError for output options that contradict each other or have no effect."""
    if values["as_json"]:
        if values["view"] == "tokens":
            raise SettingError("--view tokens and --json exclude each other: use --json --steps.")
    elif values["with_steps"]:
        raise SettingError("--steps belongs to --json: give both, or --view tokens for a line for each step.")
    if values["candidates"] and not values["with_steps"]:
        raise SettingError("--candidates belongs to --steps: give --json, --steps and --candidates together.")


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
