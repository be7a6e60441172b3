"""Send typed messages, and edit earlier ones in the input."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from blendin_local.errors import BlendinError
from blendin_local.history.dialogue import Dialogue
from blendin_local.history.tree import Turn
from blendin_local.tui.chat.conversation_view import ConversationView
from blendin_local.tui.chat.interfaces import Tell
from blendin_local.tui.chat.reply_controller import ReplyController
from blendin_local.tui.commands import typed_for
from blendin_local.tui.editable import editable
from blendin_local.tui.mentions import expand
from blendin_local.tui.phase import Phase
from blendin_local.tui.widgets.prompt import Prompt

_REFUSALS = {
    Phase.WRITING: "A reply is being written: wait for its end, or stop it with Escape.",
    Phase.STOPPING: "The reply is being stopped: one moment.",
    Phase.WAITING: "One message is waiting for the models already.",
    Phase.FAILED: "No models are loaded, so nobody can answer: F3 chooses others.",
}
"""Reasons for which a message is not sent and stays in the input."""


@dataclass(eq=False)
class MessageEditor:
    """Sends the text of the prompt. editing: the message that is being edited, None for a new one."""

    prompt: Prompt
    dialogue: Dialogue
    replies: ReplyController
    conversation: ConversationView
    tell: Tell
    editing: Turn | None = None
    _draft: str = ""

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
            self.tell(f"There is no file called {result.missing[0]}: it was sent as it stands.")
        return result.text

    def edit(self, turn: Turn) -> None:
        """Put a message into the input for editing."""
        if self.editing is None:
            self._draft = self.prompt.text
        self.editing = turn
        self._set_text(typed_for(editable(turn.text)), "Editing: Enter says it anew, Escape leaves it")
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
