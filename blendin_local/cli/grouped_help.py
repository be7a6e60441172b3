"""Help that lists options under headings, in the order in which a command declares them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

__all__ = ["GroupedCommand", "option_group"]

_OTHER = "Other"

Command = TypeVar("Command", bound=Callable[..., Any])
Decorator = Callable[[Any], Any]


def option_group(heading: str, *options: Decorator) -> Callable[[Command], Command]:
    """Return one decorator for several click options, which help lists under this heading."""

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
            # Where click collects the options of a command that is not made yet.
            command.__click_params__[-1].heading = heading  # type: ignore[attr-defined]
        return command

    return decorate


class GroupedCommand(click.Command):
    """A command whose help has a section for each heading of `under`; other options come last."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            if (record := param.get_help_record(ctx)) and isinstance(param, click.Option):
                sections.setdefault(getattr(param, "heading", _OTHER), []).append(record)
        # --help itself, and options of no heading.
        sections[_OTHER] = sections.pop(_OTHER, [])
        for heading, records in sections.items():
            with formatter.section(heading):
                formatter.write_dl(records)
