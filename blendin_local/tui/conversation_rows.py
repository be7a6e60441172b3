"""The rows of the list of conversations: title, last change, messages, pair, and what was found."""

from __future__ import annotations

from datetime import datetime

from rich.cells import cell_len, set_cell_size
from textual.content import Content

from blendin_local.history.search import MATCH_BEGINS, MATCH_ENDS, ConversationInfo
from blendin_local.safe_text import sanitize

CURRENT = "●"
"""Before the conversation that is open."""

_WHEN, _COUNT, _GAP = 11, 10, 2
_FOR_PAIR, _FOR_COUNT = 60, 45
"""Lists narrower than this leave out the pair, and the number of messages."""


def heads(width: int) -> Content:
    """Return the names of the columns, in as many cells."""
    return Content(_columns(width, "", "Title", "Changed", "Messages", "Pair"))


def row(listed: ConversationInfo, width: int, now: float, *, current: bool, found: bool) -> Content:
    """Return a conversation in one line of that many cells; below it the passage that was found."""
    line = _columns(
        width,
        CURRENT if current else "",
        one_line(listed.title),
        when(listed.updated, now),
        str(listed.messages),
        one_line(listed.pair),
    )
    return Content.assemble(line, "\n  ", _marked(listed.snippet)) if found else Content(line)


def when(moment: float, now: float) -> str:
    """Return a moment as people name it, in at most eleven characters; both are seconds since 1970."""
    then, today = datetime.fromtimestamp(moment), datetime.fromtimestamp(now)
    days = (today.date() - then.date()).days
    if days == 0:
        return f"today {then:%H:%M}"
    if 0 < days < 7:
        return f"{then:%a %H:%M}"
    return f"{then.day} {then:%b}" if then.year == today.year else f"{then.day} {then:%b %Y}"


def one_line(text: str) -> str:
    """Anyone's text, harmless and in one line."""
    return " ".join(sanitize(text).split())


def _columns(width: int, mark: str, title: str, changed: str, messages: str, pair: str) -> str:
    rest = f"{changed:<{_WHEN}}"
    if width >= _FOR_COUNT:
        rest += f"{messages:>{_COUNT}}"
    if width >= _FOR_PAIR:
        rest += " " * _GAP + _fit(pair, max(14, width // 5))
    return f"{mark:<{_GAP}}{_fit(title, width - cell_len(rest) - 2 * _GAP)}{' ' * _GAP}{rest}"


def _fit(text: str, width: int) -> str:
    """Text that takes just this many cells."""
    if cell_len(text) > width:
        text = set_cell_size(text, width - 1).rstrip() + "…"
    return set_cell_size(text, width)


def _marked(snippet: str) -> Content:
    """Return a snippet with what was found set off."""
    first, *others = snippet.split(MATCH_BEGINS)
    parts: list[str | tuple[str, str]] = [sanitize(first)]
    for each in others:
        match, _, rest = each.partition(MATCH_ENDS)
        parts += [(sanitize(match), "bold underline"), sanitize(rest)]
    return Content.assemble(*parts)
