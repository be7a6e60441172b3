"""A list with a search field, which keeps the focus while the arrow keys move in the list."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.getters import query_one
from textual.message import Message
from textual.widgets import Input, OptionList
from textual.widgets.option_list import Option

from blendin_local.safe_text import sanitize

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Row(Generic[T]):
    """A row with a value. key: unique id. searched: the text to search. group: the heading above it."""

    key: str
    value: T
    shown: Content
    searched: str = ""
    group: str = ""


class PickList(Vertical, Generic[T]):
    """A searchable list. hint: placeholder of the field. typed: returns a row for the typed text, or None."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "list('cursor_up')", "Up", show=False, id="list.up"),
        Binding("down", "list('cursor_down')", "Down", show=False, id="list.down"),
        Binding("pageup", "list('page_up')", "Page up", show=False, id="list.page_up"),
        Binding("pagedown", "list('page_down')", "Page down", show=False, id="list.page_down"),
        Binding("ctrl+home", "list('first')", "First", show=False, id="list.first"),
        Binding("ctrl+end", "list('last')", "Last", show=False, id="list.last"),
    ]

    @dataclass
    class Moved(Message):
        """The highlighted row has changed."""

        pick_list: PickList[Any]

    @dataclass
    class Picked(Message):
        """The highlighted row was picked."""

        pick_list: PickList[Any]

    field = query_one(Input)
    options = query_one(OptionList)

    def __init__(
        self, hint: str, *, id: str, typed: Callable[[str], Row[T] | None] = lambda text: None
    ) -> None:
        super().__init__(id=id)
        self._hint = hint
        self._typed = typed
        self._rows: Sequence[Row[T]] = ()
        self._shown: list[Row[T] | None] = []
        self._empty: Sequence[tuple[str, str]] = ()
        self._key = ""

    def compose(self) -> ComposeResult:
        yield Input(placeholder=self._hint, compact=True)
        rows = OptionList(markup=False, compact=True)
        rows.can_focus = False
        yield rows

    @property
    def row(self) -> Row[T] | None:
        """The highlighted row."""
        place = self.options.highlighted
        return None if place is None or place >= len(self._shown) else self._shown[place]

    def show(self, rows: Sequence[Row[T]], empty: Sequence[tuple[str, str]] = (), key: str = "") -> None:
        """Show rows; the cursor stays on its row or, if it was never moved, goes to that of `key`.

        empty: (group, text that it shows without rows).
        """
        self._rows, self._empty = rows, empty
        self._key = self._key or key
        self._fill()

    def focus_field(self) -> None:
        self.field.focus()

    def _fill(self) -> None:
        wanted = self.field.value.strip()
        found = [row for row in self._rows if _matches(row.searched, wanted)]
        if wanted and (row := self._typed(wanted)):
            found.append(row)
        options, shown = list[Option](), list[Row[T] | None]()

        def say(text: str, style: str) -> None:
            options.append(Option(Content.styled(sanitize(text), style), disabled=True))
            shown.append(None)

        groups = dict.fromkeys([row.group for row in found])
        empty = {} if wanted else dict(self._empty)
        for group in dict.fromkeys([*groups, *empty]):
            if group:
                say(group, "bold underline")
            if group not in groups:
                say(f"  {empty[group]}", "$foreground-muted")
            for row in found:
                if row.group == group:
                    options.append(Option(row.shown))
                    shown.append(row)
        if not options:
            say(f"Nothing here is called “{wanted}”." if wanted else "Nothing here.", "$foreground-muted")
        self._shown = shown
        self.options.set_options(options)
        places = {row.key: place for place, row in enumerate(shown) if row}
        self.options.highlighted = places.get(self._key, next(iter(places.values()), None))
        self._moved()

    def _moved(self) -> None:
        if self.options.highlighted in (0, 1):
            # Also show the heading above the first row.
            self.options.scroll_home(animate=False)
        self.post_message(self.Moved(self))

    @on(Input.Changed)
    def _search(self, event: Input.Changed) -> None:
        event.stop()
        self._fill()

    @on(OptionList.OptionHighlighted)
    def _highlighted(self, event: OptionList.OptionHighlighted) -> None:
        event.stop()
        if (row := self.row) and row.key != self._key:
            self._key = row.key
            self._moved()

    @on(Input.Submitted)
    def _pick(self, event: Input.Submitted) -> None:
        event.stop()
        self._picked()

    @on(OptionList.OptionSelected)
    def _clicked(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self.focus_field()

    def on_click(self, event: events.Click) -> None:
        # A single click only highlights, so that rows can be viewed with the mouse.
        if event.chain == 2 and event.widget is self.options:
            self._picked()

    def _picked(self) -> None:
        if self.row:
            self.post_message(self.Picked(self))

    def action_list(self, move: str) -> None:
        getattr(self.options, f"action_{move}")()


def _matches(searched: str, wanted: str) -> bool:
    text = searched.casefold()
    return all(word in text for word in wanted.casefold().split())
