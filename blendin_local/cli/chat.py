"""`blendin chat`: a conversation with a pair, in a terminal or line by line through a pipe."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

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
from blendin_local.cli.terminal import screen_available

if TYPE_CHECKING:
    from blendin_local.history.store import Kept, Store


@click.command()
@pair_options
@method_options
@sampling_options
@format_options
@length_options
@click.option(
    "--seed", type=int, help="Seed of the first reply, one more for each after it.  [default: random]"
)
@click.option("--resume", is_flag=True, help="Go on with the latest conversation.")
@click.option("--keep/--no-keep", default=None, help="Keep the conversation in the database.")
@model_options
def chat(**values: Any) -> None:
    """Chat with a pair, and watch which model is trusted at every word.

    Conversations are kept, and found again with Ctrl+O. Where stdin, stdout or stderr is no terminal, every
    line of stdin is a message, its reply goes to stdout, and nothing is kept.
    """
    from blendin_local.catalogue import load_catalogue
    from blendin_local.preferences import load_preferences
    from blendin_local.tui.loading import Preparer

    preferences = load_preferences()
    keep = preferences.chat.keep if values["keep"] is None else values["keep"]
    store = _open_store() if keep and screen_available() else None
    resumed = _latest(store) if values["resume"] else None
    seed: int | None = values["seed"]
    preparer = Preparer(
        model_options_of(values, preferences.models),
        lambda entry: generation_settings_of(values, entry, seed or 0, preferences),
        formats_of(values),
        preferences.chat.system if values["system"] is None else values["system"],
    )
    named = [values[name] or "" for name in ("pair", "base", "guide")]
    if resumed and not any(named):
        setup = resumed.setup
        named = [setup.pair, "", ""] if setup.pair else ["", setup.base, setup.guide]
    if not named[0] and not all(named[1:]):
        named[0] = preferences.chat.pair
    prepared = preparer(*named)
    if not screen_available():
        from blendin_local.cli.plain_chat import plain_chat

        warning = prepared.about.warning
        sys.exit(plain_chat(prepared.load, prepared.setup, draw_seed=seed is None, warning=warning))

    from blendin_local.locations import data_dir
    from blendin_local.tui.app import make_app
    from blendin_local.tui.commands import Names

    catalogue = load_catalogue()
    app = make_app(
        prepared,
        prepare=preparer,
        preferences=preferences,
        store=store,
        history=data_dir() / "history.jsonl" if keep else None,
        names=Names(
            {name: entry.description for name, entry in catalogue.pairs.items()}, tuple(catalogue.models)
        ),
        options=preparer.options,
        seed=seed,
        resume=resumed,
    )
    app.run(mouse=preferences.chat.mouse)
    sys.exit(app.return_code)


def _latest(store: Store | None) -> Kept:
    """The conversation that was written to last. Raises HistoryError where there is none."""
    from blendin_local.errors import HistoryError

    listed = store.list(limit=1) if store else []
    if not store or not listed:
        raise HistoryError("There is no conversation to resume: none has been kept, or --no-keep was given.")
    return store.open(listed[0].id)


def _open_store() -> Store:
    """The database of conversations. Raises HistoryError."""
    from blendin_local.history.store import Store
    from blendin_local.locations import data_dir

    return Store(data_dir() / "conversations.db")
