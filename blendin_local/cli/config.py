"""`blendin config`: show and change the preferences."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import click

from blendin_local.cli.complete_names import complete_key, complete_value
from blendin_local.cli.terminal import is_terminal
from blendin_local.safe_text import sanitize

_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead.")
_key = click.argument("key", shell_complete=complete_key)
UNSET = 1
"""Exit status of `get` for a key without a value."""


@click.group(invoke_without_command=True)
@_json
@click.pass_context
def config(ctx: click.Context, as_json: bool) -> None:
    """Show and change the preferences.

    Without a command, list every key with its value, its default, and the origin of the value: default,
    file, or an environment variable. docs/config.md describes the keys.
    """
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_keys, as_json=as_json)
    elif as_json:
        raise click.UsageError("--json goes after the name of the command.")


@config.command("list")
@_json
def list_keys(as_json: bool) -> None:
    """List every key with its value."""
    from blendin_local.preferences.preferences import find_values, key_named, preferences_file
    from blendin_local.preferences.writer import as_toml

    values = find_values()
    if as_json:
        shown = [
            {
                "key": name,
                "value": each.value,
                "default": key_named(name).default,
                "from": each.origin,
                "about": key_named(name).about,
            }
            for name, each in values.items()
        ]
        click.echo(json.dumps({"file": str(preferences_file()), "keys": shown}, indent=2))
        return

    from blendin_local.cli.tables import add_row, new_table, print_parts

    def cell(value: Any) -> str:
        return "-" if value is None else as_toml(value)

    table = new_table("Key", "From", "Default", "Value")
    for name, each in values.items():
        add_row(table, name, each.origin, cell(key_named(name).default), cell(each.value))
    print_parts(table, "")
    click.echo(
        f"-: the pair's recommendation; a random seed. The file is {sanitize(str(preferences_file()))}."
    )


@config.command()
@_key
def get(key: str) -> None:
    """Print the value of KEY. The exit status is 1 if it is not set."""
    from blendin_local.preferences.preferences import find_values, key_named

    declared = key_named(key)
    value = find_values().get(key)
    if value is None or value.value is None:
        click.echo(f"{key} is not set.", err=True)
        sys.exit(UNSET)
    text = declared.show(value.value)
    # Pipes get the raw text; a terminal would interpret escape sequences.
    click.echo(sanitize(text) if is_terminal(sys.stdout) else text)


# A negative number is a value, not an option.
@config.command("set", context_settings={"ignore_unknown_options": True})
@_key
@click.argument("value", shell_complete=complete_value)
def set_key(key: str, value: str) -> None:
    """Set KEY to VALUE in the file, keeping its comments.

    Separate the values of a list by commas. To change a key binding of the chat, use its name:
    blendin config set keys.chat.stop escape,ctrl+g
    """
    from blendin_local.preferences.preferences import key_named
    from blendin_local.preferences.writer import write_preference

    declared = key_named(key)
    file = write_preference(key, declared.parse(value))
    click.echo(f"{key} is set in {file}.", err=True)
    _warn_overridden(declared.spec.variable)


@config.command()
@_key
def unset(key: str) -> None:
    """Remove KEY from the file, so that its default applies again."""
    from blendin_local.preferences.preferences import KEYS, preferences_file
    from blendin_local.preferences.writer import remove_preference

    found = remove_preference(key)
    what = "is no longer" if found else "was not"
    click.echo(f"{sanitize(key)} {what} set in {preferences_file()}.", err=True)
    if declared := KEYS.get(key):
        _warn_overridden(declared.spec.variable)


@config.command()
def edit() -> None:
    """Open the file in your editor ($VISUAL or $EDITOR) and check it afterwards."""
    from blendin_local.preferences.preferences import load_preferences, preferences_file
    from blendin_local.preferences.writer import write_default

    file = preferences_file()
    if not file.exists():
        write_default()
    click.edit(filename=str(file))
    load_preferences()


@config.command()
@_json
def path(as_json: bool) -> None:
    """Show the paths of the program's files and folders."""
    from blendin_local.files import cache_dir, data_dir, models_dir
    from blendin_local.models.catalogue import user_catalogue_file
    from blendin_local.preferences.preferences import preferences_file

    places = {
        "config": preferences_file(),
        "catalogue": user_catalogue_file(),
        "models": models_dir(),
        "cache": cache_dir(),
        "data": data_dir(),
    }
    if as_json:
        click.echo(json.dumps({name: str(place) for name, place in places.items()}, indent=2))
        return
    for name, place in places.items():
        click.echo(f"{name:10} {place}")


@config.command()
def init() -> None:
    """Write a preferences file with every key commented out."""
    from blendin_local.preferences.writer import write_default

    click.echo(f"{write_default()} is written.", err=True)


def _warn_overridden(variable: str) -> None:
    if variable and os.environ.get(variable):
        click.echo(f"{variable} in the environment overrides it.", err=True)
