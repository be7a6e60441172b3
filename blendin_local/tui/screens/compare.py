"""Show the replies of several methods to one message side by side, with their metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Grid, Vertical
from textual.content import Content
from textual.getters import query_one
from textual.screen import ModalScreen
from textual.widgets import Static

from blendin_local.engine.steps import Summary
from blendin_local.history.tree import Turn
from blendin_local.safe_text import sanitize
from blendin_local.tui.bars import bar
from blendin_local.tui.entry import Entry, Kind
from blendin_local.tui.number_keys import number_keys
from blendin_local.tui.reply_text import Piece
from blendin_local.tui.screens.help import key_text
from blendin_local.tui.widgets.key_line import KeyLine
from blendin_local.tui.widgets.transcript import Transcript

_BAR = 9


class ReplyWords(Transcript, inherit_bindings=False):
    """A transcript of one reply without key bindings of its own."""


class ReplyColumn(Vertical):
    """The reply of one method: title, text and metrics."""

    words = query_one(ReplyWords)
    metrics = query_one(".metrics", Static)

    def __init__(self, number: int, method: str) -> None:
        super().__init__()
        self.border_title = f"{number} {method}"
        self.entry: Entry | None = None
        self.turn: Turn | None = None

    def compose(self) -> ComposeResult:
        yield ReplyWords(lambda turn: [])
        yield Static("waiting", classes="metrics", markup=False)

    def begin(self, turn: Turn) -> None:
        self.entry = self.words.add(Entry(Kind.REPLY, turn))
        self.entry.begin_again()
        self.metrics.update("reading the conversation …")

    def show(self, summary: Summary) -> None:
        calibrated = bool(self.entry and self.entry.turn and self.entry.turn.calibrated)
        mean, lowest = summary.mean("reliability"), summary.lowest_reliability
        full, rest = bar(mean or 0.0, _BAR)
        title = "reliability" if calibrated else "confidence"
        numbers = " –" if mean is None else f" {mean:.2f}"
        parts = [] if lowest is None else [f"lowest {lowest:.2f}"]
        parts.append("1 token" if summary.tokens == 1 else f"{summary.tokens} tokens")
        if speed := summary.tokens_per_second:
            parts.append(f"{speed:.0f}/s")
        parts += [f"intervened {summary.intervention_rate:.0%}", f"changed {summary.changed_rate:.0%}"]
        self.metrics.update(
            Content.assemble(
                f"{title} ", (full, "$source-guide"), (rest, "$foreground-disabled"), numbers, "\n",
                (" · ".join(parts), "$text-muted"),
            )
        )  # fmt: skip


class CompareScreen(ModalScreen[int | None]):
    """Returns the index of the picked reply, or None.

    begin: called once the columns are mounted. ended: the number of finished replies.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        # Keys that close the screen have priority, so that keys typed right after them go to the one below.
        Binding("escape", "leave", "Back", priority=True, id="compare.leave"),
        Binding("enter", "pick", "Go on with it", priority=True, id="compare.pick"),
        Binding("left,h", "move(-1)", "Left", show=False, id="compare.left"),
        Binding("right,l", "move(1)", "Right", show=False, id="compare.right"),
        Binding("up,k", "scroll(-1)", "Up", show=False, id="compare.up"),
        Binding("down,j", "scroll(1)", "Down", show=False, id="compare.down"),
        *number_keys("pick", "Pick", "compare.pick", priority=True),
    ]

    def __init__(self, question: str, methods: Sequence[str], begin: Callable[[], None]) -> None:
        super().__init__()
        self._question = question
        self._columns = [ReplyColumn(place + 1, method) for place, method in enumerate(methods)]
        self._begin = begin
        self._current = -1
        self.ended = 0

    def compose(self) -> ComposeResult:
        with Vertical(id="compare"):
            first = next((line for line in self._question.splitlines() if line.strip()), "")
            yield Static(Content.assemble(("❯ ", "$text-primary"), sanitize(first)), id="question")
            with Grid(id="columns"):
                yield from self._columns
            yield KeyLine()

    def on_mount(self) -> None:
        self._columns[0].words.focus()
        self._begin()

    # Progress of the replies

    def begin(self, turn: Turn) -> None:
        """Start the reply of the next column."""
        self._current += 1
        self._columns[self._current].begin(turn)

    def write(self, pieces: Iterable[Piece]) -> None:
        """Append text to the current reply."""
        column = self._columns[self._current]
        if column.entry is not None:
            column.words.write(column.entry, pieces)

    def show(self, summary: Summary) -> None:
        """Show the metrics of the current reply."""
        self._columns[self._current].show(summary)

    def end(self, turn: Turn | None, error: str) -> None:
        """End the current reply. turn: None if it is empty."""
        column = self._columns[self._current]
        column.turn = turn
        self.ended += 1
        if turn is not None:
            column.border_subtitle = f"{self._key_of(self._current + 1)} goes on with it"
        if turn is not None and not error:
            column.show(turn.summary)
        else:
            column.metrics.update(Content.styled(sanitize(error) or "empty reply", "$text-error"))

    # Keys

    def _key_of(self, number: int) -> str:
        """Return the key that picks a reply, under the user's keymap."""
        return key_text(self.app._keymap.get(f"compare.pick_{number}", str(number)))

    @property
    def _focused(self) -> int:
        return next((i for i, column in enumerate(self._columns) if column.has_focus_within), 0)

    def action_move(self, by: int) -> None:
        self._columns[(self._focused + by) % len(self._columns)].words.focus()

    def action_scroll(self, by: int) -> None:
        self._columns[self._focused].words.scroll_relative(y=by, animate=False)

    def action_pick(self, number: int = 0) -> None:
        place = number - 1 if number else self._focused
        if place < len(self._columns) and self._columns[place].turn is not None:
            self.dismiss(place)
        else:
            self.app.clear_notifications()
            self.notify("That reply is not there yet: wait for its end, or pick another.", markup=False)

    def action_leave(self) -> None:
        self.dismiss(None)

    @on(Transcript.Pointed)
    def _ignore(self, message: Transcript.Pointed) -> None:
        message.stop()
