"""Actions on messages: send, regenerate, continue, edit, delete, choose versions, copy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from blendin_local.errors import BlendinError
from blendin_local.history.dialogue import Dialogue
from blendin_local.history.tree import Turn
from blendin_local.safe_text import encodable
from blendin_local.tui.chat.conversation_view import ConversationView
from blendin_local.tui.chat.interfaces import Tell
from blendin_local.tui.chat.metrics_display import MetricsDisplay
from blendin_local.tui.chat.reply_controller import ReplyController
from blendin_local.tui.commands import typed_for
from blendin_local.tui.editable import editable
from blendin_local.tui.markdown_lines import code_blocks
from blendin_local.tui.mentions import expand
from blendin_local.tui.phase import Phase
from blendin_local.tui.widgets.prompt import Prompt

_REFUSALS = {
    Phase.WRITING: "A reply is being written: wait for its end, or stop it with Escape.",
    Phase.STOPPING: "The reply is being stopped: one moment.",
    Phase.WAITING: "One message is waiting for the models already.",
    Phase.FAILED: "No models are loaded: F3 chooses others.",
}
"""Reasons for which a message is not sent and stays in the input."""


@dataclass(eq=False)
class MessageActions:
    """Sends the prompt's text; the other actions apply to the selected message, else to the last one.

    to_clipboard: copies text. editing: the message that is being edited in the prompt, None for a new one.
    """

    prompt: Prompt
    dialogue: Dialogue
    replies: ReplyController
    conversation: ConversationView
    metrics: MetricsDisplay
    tell: Tell
    to_clipboard: Callable[[str], None]
    editing: Turn | None = None
    _draft: str = ""
    _copied: tuple[Turn | None, int] = (None, 0)

    # Sending

    def send(self, text: str) -> None:
        """Send a message with the files that it mentions."""
        if refusal := _REFUSALS.get(self.replies.phase):
            self.tell(refusal)
            self.prompt.restore(text)
            return
        expanded = self.expanded(text)
        if expanded is None:
            self.prompt.restore(text)
            return
        editing = self.editing
        if editing is not None and expanded == editable(editing.text):
            # Unchanged: keep characters that the input cannot show.
            expanded = editing.text
        self.stop_editing(self.prompt.text)
        request = self.dialogue.edit(editing, expanded) if editing else self.dialogue.send(expanded)
        if request is not None:
            self.replies.start(request, typed=text)
        else:
            self.conversation.rebuild()

    def expanded(self, text: str) -> str | None:
        """Insert the mentioned files into a message; if one cannot be read, tell why and return None."""
        try:
            result = expand(text, Path())
        except BlendinError as error:
            self.tell(str(error), error=True)
            return None
        if result.missing:
            self.tell(f"There is no file called {result.missing[0]}: the mention was sent unchanged.")
        return result.text

    # Requesting replies

    def again(self) -> None:
        """Regenerate the last reply, or the selected one, or one to the selected question."""
        if not self.replies.may_act():
            return
        turn = self.conversation.selected_turn if self.conversation.has_focus else None
        begun = self.replies.start_or_tell(partial(self.dialogue.regenerate, turn))
        if begun and self.dialogue.setup.settings.sampling.temperature == 0:
            self.tell("The temperature is 0, so the reply will be the same.")

    def go_on(self) -> None:
        """Continue a reply that was cut off."""
        turn = self.conversation.selected_or_last_reply
        if turn is not None and self.replies.may_act():
            self.replies.start_or_tell(partial(self.dialogue.continue_reply, turn))

    def edit(self) -> None:
        """Put a message into the input for editing."""
        turn = self.conversation.selected_turn or next(
            (turn for turn in reversed(self.dialogue.tree.path()) if not turn.is_reply), None
        )
        if turn is None or not self.replies.may_act():
            return
        if self.editing is None:
            self._draft = self.prompt.text
        self.editing = turn
        self._set_text(typed_for(editable(turn.text)), "Editing: Enter sends, Escape cancels")
        self.prompt.focus()

    def stop_editing(self, ahead: str = "") -> None:
        """End editing without a change; restore the draft, followed by `ahead`, the text typed since."""
        if self.editing is not None:
            self.editing = None
            self._set_text(self._draft + ahead, "")

    def _set_text(self, text: str, title: str) -> None:
        self.prompt.text = text
        self.prompt.border_title = title
        self.prompt.move_cursor(self.prompt.document.end)

    # Changing the path

    def remove(self, turn: Turn | None = None) -> None:
        """Delete a message: a question with its answers, a reply with everything after it."""
        focused = self.conversation.has_focus
        turn = turn or (self.conversation.selected_turn if focused else self.dialogue.last)
        if turn is None:
            self.tell("Choose a message first, with ↑ and ↓.")
        elif self.replies.may_act():
            place = self.dialogue.tree.path().index(turn)
            self.dialogue.remove(turn)
            self.conversation.rebuild()
            if focused and (left := self.dialogue.tree.path()):
                self.conversation.select(left[min(place, len(left) - 1)])
            self.metrics.show()
            self.tell("Deleted. u, or /undo, brings it back.")

    def undo(self) -> None:
        """Restore the message that was deleted last."""
        if not self.replies.may_act():
            return
        if self.dialogue.undo():
            self.conversation.rebuild()
            self.tell("Restored.")
        else:
            self.tell("Nothing was deleted here.")

    def sibling(self, direction: int) -> None:
        """Switch to the next (1) or previous (-1) version of a message."""
        turn = self.conversation.selected_or_last_turn
        if turn is None or not self.replies.may_act():
            return
        sibling = self.dialogue.sibling(turn, direction)
        if sibling is None:
            alone = len(self.dialogue.tree.siblings(turn)) == 1
            self.tell("There is no other version of this message." if alone else "That was the last version.")
            return
        self.dialogue.select(sibling)
        self.conversation.rebuild()
        self.conversation.select(sibling)

    # Copying

    def copy(self) -> None:
        """Copy the selected message, or the last reply."""
        turn = self.conversation.selected_or_last_turn
        if turn is not None:
            self.to_clipboard(encodable(turn.text.strip()))
            self.tell("Copied: the whole message.")

    def copy_code(self) -> None:
        """Copy a code block of a message: the first one, or the next one if called again."""
        turn = self.conversation.selected_or_last_turn
        blocks = code_blocks(turn.text) if turn else []
        if not blocks:
            self.tell("There is no code block in this message.")
            return
        last, place = self._copied
        place = (place + 1) % len(blocks) if last is turn else 0
        self._copied = turn, place
        self.to_clipboard(encodable(blocks[place]))
        self.tell(f"Copied: code block {place + 1} of {len(blocks)}.")
