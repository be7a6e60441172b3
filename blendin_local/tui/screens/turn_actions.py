"""What can be done to messages and tokens of the conversation."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.binding import Binding, BindingType

from blendin_local.engine.steps import Candidate
from blendin_local.errors import BlendinError
from blendin_local.history.tree import Turn
from blendin_local.presentation.colour_scale import MODES, Mode
from blendin_local.presentation.explanation import weak_passages
from blendin_local.safe_text import encodable
from blendin_local.tui.commands import typed_for
from blendin_local.tui.editable import editable
from blendin_local.tui.entry import Entry, Kind, View
from blendin_local.tui.markdown_lines import code_blocks
from blendin_local.tui.screens.base import BaseScreen, once_stopped
from blendin_local.tui.widgets.inspector import Inspector
from blendin_local.tui.widgets.transcript import Transcript


class TurnActions(BaseScreen):
    """Keys without Ctrl work while the transcript has the focus, on the selected message."""

    TURN_BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+r", "again", "Again", show=False, id="chat.again"),
        Binding("f6", "toggle_views", "View", id="chat.view"),
        Binding("f7", "next_colours", "Colours", show=False, id="chat.colours"),
        Binding("f8", "weak(1)", "Weak passage", show=False, id="chat.weak"),
    ]

    # Writing again

    @once_stopped
    def action_again(self) -> None:
        """Write the last reply again, or the selected one, or one to the selected question."""
        if not self.may_act():
            return
        turn = self._selected() if self.transcript.has_focus else None
        try:
            request = self.dialogue.again(turn)
        except BlendinError as error:
            self.tell(str(error))
            return
        if request.settings.sampling.temperature == 0 and self.dialogue.replies:
            self.tell("The temperature is 0, so the reply will be the same.")
        self.start(request)

    @once_stopped
    def action_go_on(self) -> None:
        """Continue a reply that was cut off."""
        turn = self._selected(reply=True) or self._last_reply()
        if turn is None or not self.may_act():
            return
        try:
            self.start(self.dialogue.go_on(turn))
        except BlendinError as error:
            self.tell(str(error))

    @once_stopped
    def action_edit(self) -> None:
        """Put a message into the input, to say it differently."""
        turn = self._selected() or next(
            (turn for turn in reversed(self.dialogue.tree.path()) if not turn.is_reply), None
        )
        if turn is None or not self.may_act():
            return
        if self.editing is None:
            self._draft = self.prompt.text
        self.editing = turn
        self.prompt.text = typed_for(editable(turn.text))
        self.prompt.move_cursor(self.prompt.document.end)
        self.prompt.border_title = "Editing: Enter says it anew, Escape leaves it"
        self.prompt.focus()

    def stop_editing(self, ahead: str = "") -> None:
        """Leave the message as it was; what stood in the input before comes back, and what is typed ahead."""
        if self.editing is not None:
            self.editing = None
            self.prompt.border_title = ""
            self.prompt.text = self._draft + ahead
            self.prompt.move_cursor(self.prompt.document.end)

    @once_stopped
    def action_remove(self, turn: Turn | None = None) -> None:
        """Delete a message; a question goes with its answers, a reply with all that follows it."""
        turn = turn or (self._selected() if self.transcript.has_focus else self.dialogue.last)
        if turn is None:
            self.tell("Choose a message first, with ↑ and ↓.")
            return
        if not self.may_act():
            return
        place = self.dialogue.tree.path().index(turn)
        self.dialogue.remove(turn)
        self.rebuild()
        if self.transcript.has_focus and (left := self.dialogue.tree.path()):
            self.transcript.select(self.entry_of(left[min(place, len(left) - 1)]))
        self.show_figures()
        self.tell("Deleted. u, or /undo, brings it back.")

    @once_stopped
    def action_undo(self) -> None:
        if not self.may_act():
            return
        if self.dialogue.undo():
            self.rebuild()
            self.tell("It is back.")
        else:
            self.tell("Nothing was deleted here.")

    @once_stopped
    def action_sibling(self, direction: int) -> None:
        """Lead the conversation through the version of a message before or after this one."""
        turn = self._selected() or self._last_reply()
        if turn is None or not self.may_act():
            return
        sibling = self.dialogue.sibling(turn, direction)
        if sibling is None:
            alone = len(self.dialogue.tree.siblings(turn)) == 1
            self.tell("There is no other version of this message." if alone else "That was the last version.")
            return
        self.dialogue.select(sibling)
        self.rebuild()
        self.transcript.select(self.entry_of(sibling))

    # Tokens

    @on(Transcript.Pointed)
    def _pointed(self, message: Transcript.Pointed) -> None:
        if message.transcript is not self.transcript:
            return
        self.show_inspector()
        self.show_figures()

    def show_inspector(self) -> None:
        """Show the token that is pointed at, if the inspector is open."""
        entry, index = self.transcript.selected, self.transcript.pointer
        turn = entry.turn if entry else None
        steps = self.dialogue.steps(turn) if turn is not None and turn.is_reply else []
        if turn is None or turn.setup is None or index is None or index >= len(steps):
            self.inspector.show(None, self.dialogue.setup.settings, False, (0, 0))
            return
        self.inspector.show(steps[index], turn.setup.settings, turn.calibrated, (index, len(steps)))

    @property
    def inspecting(self) -> bool:
        return self.has_class("-inspecting")

    def action_inspect(self) -> None:
        """Open the inspector at the token that is pointed at, or close it."""
        if self.inspecting and self.inspector.has_focus:
            self.close_inspector()
            return
        if self.transcript.pointer is None:
            turn = self._selected(reply=True) or self._last_reply()
            if turn is None or not self.dialogue.steps(turn):
                self.tell("There is no token yet that could be inspected.")
                return
            self.transcript.select(self.entry_of(turn), 0)
        self.add_class("-inspecting")
        self.show_inspector()
        self.inspector.focus()
        # The conversation has less room now.
        self.call_after_refresh(self.transcript.show_pointer)

    def close_inspector(self) -> None:
        self.remove_class("-inspecting")
        self.transcript.focus()

    @on(Inspector.Move)
    def _move(self, message: Inspector.Move) -> None:
        self.transcript.action_step_token(message.delta)

    @on(Inspector.Branch)
    def _branch(self, message: Inspector.Branch) -> None:
        self.branch(message.candidate)

    @once_stopped
    def branch(self, candidate: Candidate) -> None:
        """Have the reply go on from the token pointed at with another candidate in its place."""
        entry, index = self.transcript.selected, self.transcript.pointer
        if entry is None or entry.turn is None or index is None or not self.may_act():
            return
        try:
            self.start(self.dialogue.branch(entry.turn, index, candidate))
        except BlendinError as error:
            self.tell(str(error))
        else:
            # Branching again and again is how a reply is steered.
            self.transcript.select(self.entry_of(self.dialogue.tree.path()[-1]), index)

    def action_branch(self, number: int) -> None:
        """Branch to a candidate by its number, as the inspector lists them."""
        if self.inspecting:
            self.inspector.action_branch(number)
        else:
            self.action_inspect()

    def action_weak(self, direction: int) -> None:
        """Go to the next or previous weak passage, of the selected reply and then of those beyond it."""
        replies = self.dialogue.replies[::direction]
        start = self._selected(reply=True)
        if start in replies:
            replies = replies[replies.index(start) :]
        elif direction > 0 and start is None:
            replies = replies[-1:]
        for turn in replies:
            here = self.transcript.pointer if turn is start else None
            passages = [passage.start for passage in weak_passages(self.dialogue.steps(turn))]
            beyond = [
                place
                for place in passages
                if here is None or (place > here if direction > 0 else place < here)
            ]
            if beyond:
                place = beyond[0] if direction > 0 else beyond[-1]
                self.transcript.focus()
                self.transcript.select(self.entry_of(turn), place)
                return
        self.tell("There is no further weak passage." if start else "There is no weak passage.")

    # Looks

    def action_toggle_view(self) -> None:
        """Show the selected reply formatted, or token by token."""
        turn = self._selected(reply=True) or self._last_reply()
        if turn is not None and turn is not self.dialogue.reply:
            entry = self.entry_of(turn)
            self._set_view(entry, View.TOKENS if entry.view is View.MARKDOWN else View.MARKDOWN)

    def action_toggle_views(self) -> None:
        """Show all replies formatted, or token by token."""
        self.show_view(View.TOKENS if self.view is View.MARKDOWN else View.MARKDOWN)

    def show_view(self, view: View) -> None:
        self.view = view
        self.show_legend()
        for entry in self._entries.values():
            if entry.turn is not self.dialogue.reply:
                entry.view = view if entry.kind is Kind.REPLY else entry.view
        self.rebuild()
        self.show_figures()

    def _set_view(self, entry: Entry, view: View) -> None:
        entry.view = view
        self.transcript.changed(entry)

    def action_next_colours(self) -> None:
        """Colour the tokens by something else."""
        place = MODES.index(self.transcript.colours) + 1
        self.show_colours(MODES[place % len(MODES)])

    def show_colours(self, mode: Mode) -> None:
        self.transcript.colours = mode
        self.transcript.refresh()
        self.show_legend()

    def show_legend(self) -> None:
        """Explain the colours, where there are any."""
        tokens = self.phase.is_writing or self.view is View.TOKENS
        self.status.show_colours(self.transcript.colours if tokens else None)
        self.panel.show_colours(self.transcript.colours)

    # Copying

    def action_copy(self) -> None:
        """Copy the selected message, or the last reply."""
        turn = self._selected() or self._last_reply()
        if turn is not None:
            self.app.copy_to_clipboard(encodable(turn.text.strip()))
            self.tell("Copied: the whole message.")

    def action_copy_code(self) -> None:
        """Copy the code in a reply; pressed again, its next block."""
        turn = self._selected() or self._last_reply()
        blocks = code_blocks(turn.text) if turn else []
        if not blocks:
            self.tell("There is no code block in this message.")
            return
        last, place = self._copied
        place = (place + 1) % len(blocks) if last is turn else 0
        self._copied = turn, place
        self.app.copy_to_clipboard(encodable(blocks[place]))
        self.tell(f"Copied: code block {place + 1} of {len(blocks)}.")

    _copied: tuple[Turn | None, int] = (None, 0)
    _draft = ""

    # In detail

    def _selected(self, *, reply: bool = False) -> Turn | None:
        entry = self.transcript.selected
        turn = entry.turn if entry else None
        return turn if turn is not None and (turn.is_reply or not reply) else None

    def _last_reply(self) -> Turn | None:
        replies = self.dialogue.replies
        return replies[-1] if replies else None
