"""Format the rows of the list of conversations: title, last change, messages, pair, search result."""

from __future__ import annotations

from datetime import datetime

from rich.cells import cell_len
from textual.content import Content

from blendin_local.history.search import MATCH_BEGINS, MATCH_ENDS, ConversationInfo
from blendin_local.presentation.formatting import line
from blendin_local.safe_text import sanitize
from blendin_local.tui.rows import fit

CURRENT = "●"
"""Mark of the open conversation."""

_WHEN, _COUNT, _GAP = 11, 10, 2
_FOR_PAIR, _FOR_COUNT = 60, 45
"""Widths below which a list has no column for the pair, and none for the number of messages."""


def heads(width: int) -> Content:
    """Return the column titles in `width` cells."""
    return Content(_columns(width, "", "Title", "Changed", "Messages", "Pair"))


def row(listed: ConversationInfo, width: int, now: float, *, current: bool, found: bool) -> Content:
    """Return a conversation in one line of `width` cells; if `found`, with the matching passage below it."""
    first = _columns(
        width,
        CURRENT if current else "",
        line(listed.title),
        when(listed.updated, now),
        str(listed.messages),
        line(listed.pair),
    )
    return Content.assemble(first, "\n  ", _marked(listed.snippet)) if found else Content(first)


def when(moment: float, now: float) -> str:
    """Format a time relative to `now` in at most 11 characters; both are seconds since 1970."""
    then, today = datetime.fromtimestamp(moment), datetime.fromtimestamp(now)
    days = (today.date() - then.date()).days
    if days == 0:
        return f"today {then:%H:%M}"
    if 0 < days < 7:
        return f"{then:%a %H:%M}"
    return f"{then.day} {then:%b}" if then.year == today.year else f"{then.day} {then:%b %Y}"


def _columns(width: int, mark: str, title: str, changed: str, messages: str, pair: str) -> str:
    rest = f"{changed:<{_WHEN}}"
    if width >= _FOR_COUNT:
        rest += f"{messages:>{_COUNT}}"
    if width >= _FOR_PAIR:
        rest += " " * _GAP + fit(pair, max(14, width // 5))
    return f"{mark:<{_GAP}}{fit(title, width - cell_len(rest) - 2 * _GAP)}{' ' * _GAP}{rest}"


def _marked(snippet: str) -> Content:
    """Return a snippet with its matches underlined."""
    first, *others = snippet.split(MATCH_BEGINS)
    parts: list[str | tuple[str, str]] = [sanitize(first)]
    for each in others:
        match, _, rest = each.partition(MATCH_ENDS)
        parts += [(sanitize(match), "bold underline"), sanitize(rest)]
    return Content.assemble(*parts)
