"""Help texts that list options under headings, in the order of their declaration."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

__all__ = ["GroupedCommand", "option_group"]

_OTHER = "Other"

Command = TypeVar("Command", bound=Callable[..., Any])
Decorator = Callable[[Any], Any]


def option_group(heading: str, *options: Decorator) -> Callable[[Command], Command]:
    """Return one decorator that adds several click options, listed in help under `heading`."""

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
            # click collects the options of a future command in this list.
            command.__click_params__[-1].heading = heading  # type: ignore[attr-defined]
        return command

    return decorate


class GroupedCommand(click.Command):
    """A command whose help has a section for each `option_group`, then one for the other options."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            if (record := param.get_help_record(ctx)) and isinstance(param, click.Option):
                sections.setdefault(getattr(param, "heading", _OTHER), []).append(record)
        # --help, and options without a heading, come last.
        sections[_OTHER] = sections.pop(_OTHER, [])
        for heading, records in sections.items():
            with formatter.section(heading):
                formatter.write_dl(records)
