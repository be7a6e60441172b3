"""`blendin chat`: chat with a pair in a terminal, or line by line through a pipe."""

from __future__ import annotations

import io
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from blendin_local.cli.grouped_help import GroupedCommand, option_group
from blendin_local.cli.options import (
    SAMPLING,
    format_options,
    formats_of,
    generation_settings_of,
    length_options,
    method_options,
    model_options,
    model_options_of,
    override_typed,
    pair_options,
    sampling_options,
)
from blendin_local.cli.terminal import screen_available
from blendin_local.safe_text import sanitize

if TYPE_CHECKING:
    from blendin_local.history.store import SavedConversation, Store
    from blendin_local.history.tree import Setup
    from blendin_local.models.entries import PairEntry
    from blendin_local.preferences.preferences import Preferences
    from blendin_local.settings import GenerationSettings
    from blendin_local.tui.loading import Preparer


@click.command(cls=GroupedCommand)
@pair_options("chat.pair of the preferences")
@option_group(
    "Conversation",
    click.option("--resume", is_flag=True, help="Continue the most recent conversation."),
    click.option("--keep/--no-keep", default=None, help="Save the conversation in the database."),
)
@format_options
@method_options
@length_options
@option_group(
    SAMPLING,
    click.option(
        "--seed", type=int, help="Seed of the first reply; each later reply adds 1.  [default: random]"
    ),
)
@sampling_options
@model_options
def chat(**values: Any) -> None:
    """Chat with a pair, and see which model each token comes from.

    Conversations are saved; Ctrl+O opens them again. If stdin, stdout or stderr is not a terminal, each line
    of stdin is a message, replies go to stdout, and nothing is saved.
    """
    from blendin_local.preferences.preferences import load_preferences

    preferences = load_preferences()
    keep = _keep_wanted(values, preferences)
    store = _open_store() if keep and screen_available() else None
    resumed = _latest_conversation(store) if values["resume"] else None
    preparer, names = _prepare(values, preferences, resumed)
    if resumed:
        resumed = replace(resumed, setup=_override_setup(resumed.setup, values))
    seed = _seed(values, preferences)
    if not screen_available():
        from blendin_local.cli.plain_chat import plain_chat

        sys.exit(plain_chat(preparer, names, draw_seed=seed is None))

    from blendin_local.files import data_dir
    from blendin_local.models.catalogue import load_catalogue
    from blendin_local.tui.app import ChatApp
    from blendin_local.tui.chat.session import ChatSession
    from blendin_local.tui.commands import Names

    catalogue = load_catalogue()
    session = ChatSession(
        preparer(*names),
        preparer,
        preferences=preferences,
        store=store,
        history=data_dir() / "history.jsonl" if keep else None,
        options=preparer.options,
        seed=seed,
        resume=resumed,
    )
    descriptions = {name: entry.description for name, entry in catalogue.pairs.items()}
    app = ChatApp(session, Names(descriptions, tuple(catalogue.models)))
    if isinstance(sys.__stderr__, io.TextIOWrapper):
        # Textual draws on stderr: a replacement character keeps the width of what the encoding lacks.
        sys.__stderr__.reconfigure(errors="replace")
    app.run(mouse=preferences.chat.mouse)
    if problem := session.journal.problem:
        click.echo(f"Error: {sanitize(problem)}", err=True)
    sys.exit(app.return_code)


def _override_setup(setup: Setup, values: Mapping[str, Any]) -> Setup:
    """Return the setup of a resumed conversation, overridden by typed options."""
    seed = setup.settings.seed if values["seed"] is None else values["seed"]
    settings = override_typed(setup.settings, values, seed)
    return replace(
        setup, settings=settings, system=setup.system if values["system"] is None else values["system"]
    )


def check(values: Mapping[str, Any]) -> None:
    """Raise the BlendinError that starting a chat with these option values would raise."""
    from blendin_local.preferences.preferences import load_preferences

    preferences = load_preferences()
    store = _open_store() if _keep_wanted(values, preferences) else None
    try:
        resumed = _latest_conversation(store) if values["resume"] else None
        preparer, names = _prepare(values, preferences, resumed)
        preparer(*names)
    finally:
        if store:
            store.close()


def _keep_wanted(values: Mapping[str, Any], preferences: Preferences) -> bool:
    return preferences.chat.keep if values["keep"] is None else bool(values["keep"])


def _seed(values: Mapping[str, Any], preferences: Preferences) -> int | None:
    """Return the seed of the first reply; None for a random one."""
    return preferences.seed if values["seed"] is None else values["seed"]


def _prepare(
    values: Mapping[str, Any], preferences: Preferences, resumed: SavedConversation | None
) -> tuple[Preparer, list[str]]:
    """Return the preparer of pairs under these options, and pair, base and guide of the first one."""
    from blendin_local.tui.loading import Preparer

    context = click.get_current_context()

    def settings_for(entry: PairEntry) -> GenerationSettings:
        # Pairs chosen later are prepared in other threads, where click has no context.
        with context.scope(cleanup=False):
            return generation_settings_of(values, entry, _seed(values, preferences) or 0, preferences)

    preparer = Preparer(
        model_options_of(values, preferences.models),
        settings_for,
        formats_of(values, resumed.setup.formats if resumed else preferences.formats),
        preferences.chat.system if values["system"] is None else values["system"],
    )
    named = [values[name] or "" for name in ("pair", "base", "guide")]
    if resumed and not any(named):
        setup = resumed.setup
        named = [setup.pair, "", ""] if setup.pair else ["", setup.base, setup.guide]
    if not named[0] and not all(named[1:]):
        named[0] = preferences.chat.pair
    return preparer, named


def _latest_conversation(store: Store | None) -> SavedConversation:
    """Return the most recently changed conversation. Raises HistoryError if there is none."""
    from blendin_local.errors import HistoryError

    listed = store.list(limit=1) if store else []
    if not store or not listed:
        raise HistoryError(
            "No conversation to resume: none was saved, --no-keep was given, or there is no terminal."
        )
    return store.open(listed[0].id)


def _open_store() -> Store:
    """Open the database of conversations. Raises HistoryError."""
    from blendin_local.errors import HistoryError
    from blendin_local.files import data_dir
    from blendin_local.history.store import Store

    try:
        return Store(data_dir() / "conversations.db")
    except HistoryError as error:
        raise HistoryError(f"{error} (With --no-keep, the chat runs without the database.)") from error
