"""Help texts that list options under headings, in the order of their declaration."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

__all__ = ["GroupedCommand", "LazyOptionsCommand", "option_group"]

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


class LazyOptionsCommand(GroupedCommand):
    """A command that takes further options from `load_options` when it is parsed or its help is shown.

    For options whose declaration imports much, in a group whose help lists many commands.
    """

    def load_options(self) -> Decorator:
        """Return the decorator that adds the options."""
        raise NotImplementedError

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        if not getattr(self, "_loaded", False):
            self._loaded = True

            def holder() -> None: ...

            self.load_options()(holder)
            self.params.extend(reversed(holder.__click_params__))  # type: ignore[attr-defined]
        return super().get_params(ctx)
