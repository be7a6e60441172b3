"""Complete commands, their arguments, and file names after an @."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from blendin_local.history.exports import SUFFIXES
from blendin_local.tui.commands import COMMANDS, SPECS, Names, is_command
from blendin_local.tui.mentions import complete_path, unfinished

MOST_FILES = 100


@dataclass(frozen=True, slots=True)
class Completion:
    """A text that replaces the line from column `start` to the cursor.

    hint: the syntax of the argument after it. description: its meaning.
    """

    text: str
    description: str = ""
    start: int = 0
    hint: str = ""


def completions(line: str, names: Names, *, first: bool) -> list[Completion]:
    """Return completions for a cursor at the end of `line`.

    first: whether it is the first line of the input, where commands are allowed. [] if nothing matches or
    the only completion is already typed.
    """
    found = complete(line, names) if first and is_command(line) else _complete_mention(line, names.folder)
    return [] if [each.text for each in found] == [line[each.start :] for each in found[:1]] else found


def complete(text: str, names: Names) -> list[Completion]:
    """Return completions of a command that is typed up to the cursor."""
    head, space, rest = text.partition(" ")
    if not space:
        commands = [
            Completion(
                f"/{spec.name}{' ' if spec.needs_argument else ''}",
                spec.help,
                hint="" if spec.choices else spec.argument,
            )
            for spec in SPECS
        ]
        return _matching(head, commands)
    spec = COMMANDS.get(head[1:])
    if spec is None:
        return []
    if spec.name in ("export", "open"):
        # Quotes are optional.
        name = rest.removeprefix('"')
        of_files = _complete_export if spec.name == "export" else _complete_import
        return of_files(name, len(text) - len(name), names.folder)
    before, _, last = rest.rpartition(" ")
    offered: Mapping[str, str] = {} if before else dict.fromkeys(spec.choices, "")
    if spec.offer:
        offered = spec.offer(before, names)
    return _matching(last, [Completion(each, what, len(text) - len(last)) for each, what in offered.items()])


def _matching(typed: str, offered: list[Completion]) -> list[Completion]:
    """Filter completions by a typed text: an exact match first, then prefixes, then other matches."""
    low = typed.casefold()

    def rank(each: Completion) -> tuple[bool, bool]:
        return each.text.rstrip() != typed, not each.text.casefold().startswith(low)

    return sorted((each for each in offered if low in each.text.casefold()), key=rank)


def _complete_export(typed: str, start: int, folder: Path) -> list[Completion]:
    found = {path: "folder" for path in complete_path(typed, folder) if path.endswith("/")}
    name = typed.rpartition("/")[2]
    if name and not name.endswith((*SUFFIXES, '"')):
        stem = typed.removesuffix(Path(name).suffix or ".")
        found |= {stem + end: what for end, what in SUFFIXES.items() if (stem + end).startswith(typed)}
    return [Completion(text, what, start) for text, what in found.items()]


def _complete_import(typed: str, start: int, folder: Path) -> list[Completion]:
    # Any other argument is a search, which Enter must not replace by a file name.
    if not any(mark in typed for mark in "./"):
        return []
    found = [path for path in complete_path(typed, folder) if path.endswith(("/", ".json"))]
    return [Completion(path, start=start) for path in found]


def _complete_mention(line: str, folder: Path) -> list[Completion]:
    if not (mention := unfinished(line)):
        return []
    start, prefix, quoted = mention
    return [
        Completion(_mention(path, quoted), start=start) for path in complete_path(prefix, folder)[:MOST_FILES]
    ]


def _mention(path: str, quoted: bool) -> str:
    if not quoted and " " not in path:
        return f"@{path}"
    # The quotes of a folder stay open, so that its files can be completed.
    return f'@"{path}' + ("" if path.endswith("/") else '"')
