"""Shell completion of the names of pairs and models, and of the keys and values of the preferences."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps

import click
from click.shell_completion import CompletionItem

from blendin_local.safe_text import sanitize

Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def _completer(offer: Callable[[click.Context, str], Iterable[tuple[str, str]]]) -> Completer:
    """Make a click completer from a function that yields (name, description); it returns [] on any error."""

    @wraps(offer)
    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        try:
            return [
                # The shell script reads one line for each item.
                CompletionItem(name, help=" ".join(sanitize(about).split()))
                for name, about in offer(ctx, incomplete)
                if name.startswith(incomplete)
            ]
        except Exception:
            # A traceback would garble the command line; running the command reports the error.
            return []

    return complete


@_completer
def complete_pair(ctx: click.Context, incomplete: str) -> Iterable[tuple[str, str]]:
    """Complete the name of a pair."""
    return _pairs()


@_completer
def complete_model_name(ctx: click.Context, incomplete: str) -> Iterable[tuple[str, str]]:
    """Complete the name of a model."""
    return _models()


@_completer
def complete_name(ctx: click.Context, incomplete: str) -> Iterable[tuple[str, str]]:
    """Complete the name of a pair or a model."""
    return [*_pairs(), *_models()]


def complete_model(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the name of a model, or a file path if no name matches."""
    return complete_model_name(ctx, param, incomplete) or [CompletionItem(incomplete, type="file")]


@_completer
def complete_key(ctx: click.Context, incomplete: str) -> Iterable[tuple[str, str]]:
    """Complete a key of the preferences."""
    from blendin_local.preferences.preferences import KEYS

    return [(name, key.about) for name, key in KEYS.items()]


@_completer
def complete_value(ctx: click.Context, incomplete: str) -> Iterable[tuple[str, str]]:
    """Complete a value of the key already typed."""
    from blendin_local.preferences.preferences import key_named

    key = key_named(ctx.params["key"])
    if str(key) == "chat.pair":
        return _pairs()
    if key.kind is bool:
        return [("true", ""), ("false", "")]
    if key.kind is not tuple:
        return [(choice, "") for choice in key.choices]
    typed, comma, _ = incomplete.rpartition(",")
    return [(f"{typed}{comma}{choice}", "") for choice in key.choices if choice not in typed.split(",")]


@_completer
def complete_model_option(ctx: click.Context, incomplete: str) -> Iterable[tuple[str, str]]:
    """Complete NAME=VALUE of an option of one model: its name, then a value out of a fixed list."""
    from blendin_local.settings import model_option_specs

    specs = model_option_specs()
    name, equals, _ = incomplete.partition("=")
    if not equals:
        return [(f"{name}=", spec.description) for name, spec in specs.items()]
    values = ("true", "false") if specs[name].kind is bool else specs[name].choices
    return [(f"{name}={value}", "") for value in values]


def _pairs() -> list[tuple[str, str]]:
    from blendin_local.models.catalogue import load_catalogue

    return [(pair.name, pair.description) for pair in load_catalogue().pairs.values()]


def _models() -> list[tuple[str, str]]:
    from blendin_local.models.catalogue import load_catalogue

    return [(model.name, model.note) for model in load_catalogue().models.values()]
