"""Show the current path of a conversation as entries of the transcript."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from blendin_local.engine.steps import Step, Summary
from blendin_local.history.dialogue import Dialogue
from blendin_local.history.reply_footer import describe_thinking, reply_footer
from blendin_local.history.tree import Turn
from blendin_local.presentation.colour_scale import MODES, Mode
from blendin_local.safe_text import sanitize
from blendin_local.tui.chat.interfaces import ReplyEnd
from blendin_local.tui.entry import Entry, Kind, View
from blendin_local.tui.reply_text import Piece, split_thinking, thinking_of
from blendin_local.tui.widgets.transcript import Transcript


@dataclass(eq=False)
class ConversationView:
    """Keeps one entry for each turn and finds the selected turn and token; a `ReplySink`.

    view: display of finished replies.
    """

    transcript: Transcript
    dialogue: Dialogue
    view: View
    _entries: dict[str, Entry] = field(default_factory=dict)
    _thoughts: dict[str, Entry] = field(default_factory=dict)
    _unfolded: set[str] = field(default_factory=set)

    # Entries

    def rebuild(self, *, keep: bool = True) -> None:
        """Show the current path of the conversation. keep: whether to keep the scroll position."""
        below: defaultdict[str | None, list[Turn]] = defaultdict(list)
        for turn in self.dialogue.tree.turns.values():
            below[turn.parent].append(turn)
        entries = []
        for turn in self.dialogue.tree.path():
            if turn.summary.thinking is not None:
                entries.append(self._thinking_of(turn))
            entries.append(self.entry_of(turn))
            self._set_foot(entries[-1], below[turn.parent])
        self.transcript.show(entries, keep=keep)
        self._show_whether_empty()

    def restart(self) -> None:
        """Show another conversation, scrolled to its end."""
        self._entries.clear()
        self._thoughts.clear()
        self.transcript.select(None)
        self.rebuild(keep=False)

    def entry_of(self, turn: Turn) -> Entry:
        """Return the entry of a turn, created on first use."""
        if (entry := self._entries.get(turn.id)) and entry.turn is turn:
            return entry
        if turn.is_reply:
            entry = Entry(Kind.REPLY, turn, self.view)
        else:
            entry = Entry(Kind.USER, turn)
            entry.append([(sanitize(turn.text), "user")])
        self._entries[turn.id] = entry
        return entry

    def _thinking_of(self, turn: Turn) -> Entry:
        """Return the entry that shows the thinking before a reply."""
        entry = self._thoughts.get(turn.id)
        if entry is None or entry.turn is not turn:
            entry = self._thoughts[turn.id] = Entry(Kind.THINKING, turn)
        self._fill_thinking(turn, entry)
        return entry

    def _fill_thinking(self, turn: Turn, entry: Entry) -> None:
        if turn.id in self._unfolded:
            entry.replace([(f"{describe_thinking(turn)}\n", "note"), *thinking_of(self.dialogue.steps(turn))])
        else:
            entry.replace([(f"{describe_thinking(turn)} · t shows it", "note")])

    def toggle_thinking(self) -> None:
        """Show the thinking of the selected reply, or only how long it is."""
        turn = self.selected_or_last_reply
        if turn is not None and turn.summary.thinking is not None:
            self._unfolded ^= {turn.id}
            self.transcript.changed(self._thinking_of(turn))

    def _set_foot(self, entry: Entry, siblings: list[Turn]) -> None:
        turn = entry.turn
        if turn is None or turn is self.dialogue.reply:
            return
        if turn.is_reply:
            entry.set_foot(reply_footer(turn, siblings))
        elif len(siblings) > 1:
            entry.set_foot(f"{siblings.index(turn) + 1}/{len(siblings)}")

    def add_error(self, text: str) -> None:
        self._add_line(Kind.ERROR, text, "error")

    def _add_line(self, kind: Kind, text: str, tag: str) -> None:
        """Add an entry that is not part of the conversation."""
        entry = Entry(kind)
        entry.append([(sanitize(text), tag)])
        self.transcript.add(entry)
        self._show_whether_empty()

    def _show_whether_empty(self) -> None:
        self.transcript.screen.set_class(not self.transcript.is_empty, "-talking")

    # The `ReplySink`

    def started(self, turn: Turn) -> None:
        # A reply can be continued in the middle of a conversation: the view stays there.
        self.rebuild(keep=turn is not self.dialogue.last)
        entry = self.entry_of(turn)
        entry.begin_again()
        self.transcript.changed(entry)

    def write(self, turn: Turn, pieces: list[Piece], summary: Summary) -> None:
        thinking, answer = split_thinking(pieces, turn.steps)
        if summary.thinking is not None and turn.id not in self._thoughts:
            self.rebuild()
        elif turn.id in self._thoughts and (thinking or not answer):
            entry = self._thoughts[turn.id]
            if turn.id in self._unfolded:
                self.transcript.write(entry, thinking)
            else:
                self._fill_thinking(turn, entry)
                self.transcript.changed(entry)
        if answer:
            self.transcript.write(self.entry_of(turn), answer)

    def ended(self, end: ReplyEnd) -> None:
        if end.turn is not None and end.begun:
            self.entry_of(end.turn).finish(self.view)
        elif end.turn is not None:
            # Continuing failed before it began: the entry shows the reply as it was.
            self._entries.clear()
        self.rebuild()
        if end.turn is None and end.begun and end.on_path:
            reason = "stopped before the first token" if end.cancelled else "empty reply"
            self._add_line(Kind.NOTE, f"({reason}; Ctrl+R asks again)", "note")
        if end.error:
            self.add_error(end.error)

    # Selection

    @property
    def has_focus(self) -> bool:
        return self.transcript.has_focus

    @property
    def selected_turn(self) -> Turn | None:
        entry = self.transcript.selected
        return entry.turn if entry else None

    @property
    def selected_reply(self) -> Turn | None:
        turn = self.selected_turn
        return turn if turn is not None and turn.is_reply else None

    @property
    def selected_or_last_turn(self) -> Turn | None:
        """The selected turn, else the last reply."""
        return self.selected_turn or self._last_reply

    @property
    def selected_or_last_reply(self) -> Turn | None:
        return self.selected_reply or self._last_reply

    @property
    def _last_reply(self) -> Turn | None:
        replies = self.dialogue.replies
        return replies[-1] if replies else None

    @property
    def selected_token(self) -> tuple[Turn, list[Step], int] | None:
        """(reply, its steps, index of the selected step); None if no token is selected."""
        turn, index = self.selected_reply, self.transcript.pointer
        steps = self.dialogue.steps(turn) if turn is not None else []
        return (turn, steps, index) if turn is not None and index is not None and index < len(steps) else None

    def select(self, turn: Turn | None, index: int | None = None) -> None:
        """Select a turn or the token at an index of it, and scroll to it."""
        entry = self.entry_of(turn) if turn else None
        steps = self.dialogue.steps(turn) if turn and index is not None else []
        if turn and index is not None and index < len(steps) and steps[index].thinking:
            self._unfolded.add(turn.id)
            entry = self._thinking_of(turn)
            self.transcript.changed(entry)
        self.transcript.select(entry, index)

    # Views and colours

    def toggle_view(self) -> None:
        """Switch the selected reply between Markdown and tokens."""
        turn = self.selected_or_last_reply
        if turn is not None and turn is not self.dialogue.reply:
            entry = self.entry_of(turn)
            entry.view = View.TOKENS if entry.view is View.MARKDOWN else View.MARKDOWN
            self.transcript.changed(entry)

    def show_view(self, view: View) -> None:
        """Set the view of all finished replies."""
        self.view = view
        for entry in self._entries.values():
            if entry.kind is Kind.REPLY and entry.turn is not self.dialogue.reply:
                entry.view = view
        self.rebuild()

    @property
    def colours(self) -> Mode:
        return self.transcript.colours

    @property
    def next_colours(self) -> Mode:
        return MODES[(MODES.index(self.colours) + 1) % len(MODES)]

    def show_colours(self, mode: Mode) -> None:
        self.transcript.colours = mode
        self.transcript.refresh()
