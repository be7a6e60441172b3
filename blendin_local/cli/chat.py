"""`blendin chat`: a conversation with a pair, in a terminal or line by line through a pipe."""

from __future__ import annotations

import sys
from typing import Any

import click

from blendin_local.cli.options import (
    format_options,
    formats_of,
    generation_settings_of,
    length_options,
    method_options,
    model_options,
    model_options_of,
    pair_options,
    sampling_options,
)


@click.command()
@pair_options
@method_options
@sampling_options
@format_options
@length_options
@click.option(
    "--seed", type=int, help="Seed of the first reply, one more for each after it.  [default: random]"
)
@model_options
def chat(**values: Any) -> None:
    """Chat with a pair, and watch which model is trusted at every word.

    Where stdin, stdout or stderr is no terminal, every line of stdin is a message and its reply goes to
    stdout.
    """
    from blendin_local.catalogue import load_catalogue
    from blendin_local.loading import locate_pair, name_pair
    from blendin_local.tui.loading import about_pair, pair_loader

    catalogue = load_catalogue()
    entry = name_pair(catalogue, values["pair"], values["base"], values["guide"])
    seed: int | None = values["seed"]
    settings = generation_settings_of(values, entry, seed or 0)
    options = model_options_of(values)
    files = locate_pair(catalogue, entry)
    load = pair_loader(
        files,
        options,
        settings,
        formats=formats_of(values),
        system=values["system"],
        seed_given=seed is not None,
    )
    # Textual draws on stderr.
    if not all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)):
        from blendin_local.cli.plain_chat import plain_chat

        sys.exit(plain_chat(load, warning=files.memory_warning(options)))

    from blendin_local.tui.app import make_app

    app = make_app(load, about_pair(files, options, settings))
    app.run()
    sys.exit(app.return_code)
