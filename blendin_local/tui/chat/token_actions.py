"""Actions on tokens of replies: inspecting, branching, going to weak passages."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from blendin_local.engine.steps import Candidate
from blendin_local.history.dialogue import Dialogue
from blendin_local.presentation.explanation import weak_passages
from blendin_local.tui.chat.conversation_view import ConversationView
from blendin_local.tui.chat.interfaces import Tell
from blendin_local.tui.chat.reply_controller import ReplyController
from blendin_local.tui.widgets.inspector import Inspector


@dataclass(eq=False)
class TokenActions:
    """Actions on the selected token."""

    dialogue: Dialogue
    replies: ReplyController
    conversation: ConversationView
    inspector: Inspector
    tell: Tell

    # The inspector

    @property
    def inspecting(self) -> bool:
        """Whether the inspector is open."""
        return self.inspector.screen.has_class("-inspecting")

    def show(self) -> None:
        """Show the selected token in the inspector."""
        if (selected := self.conversation.selected_token) and (setup := selected[0].setup):
            turn, steps, index = selected
            self.inspector.show(steps[index], setup.settings, turn.calibrated, (index, len(steps)))
        else:
            self.inspector.show(None, self.dialogue.setup.settings, False, (0, 0))

    def inspect(self) -> None:
        """Open the inspector at the selected token, else at the first; close it if it has the focus."""
        if self.inspecting and self.inspector.has_focus:
            self.close()
            return
        transcript = self.conversation.transcript
        if transcript.pointer is None:
            turn = self.conversation.selected_or_last_reply
            if turn is None or not self.dialogue.steps(turn):
                self.tell("There is no token to inspect yet.")
                return
            self.conversation.select(turn, 0)
        self.inspector.screen.add_class("-inspecting")
        self.show()
        self.inspector.focus()
        # The inspector takes room from the transcript, so the token may be out of view.
        self.inspector.screen.call_after_refresh(transcript.show_pointer)

    def close(self) -> None:
        """Close the inspector."""
        self.inspector.screen.remove_class("-inspecting")
        self.conversation.transcript.focus()

    # Branching

    def branch(self, candidate: Candidate) -> None:
        """Branch at the selected token: continue the reply with another candidate in its place."""
        turn, index = self.conversation.selected_turn, self.conversation.transcript.pointer
        if turn is None or index is None or not self.replies.may_act():
            return
        if self.replies.start_or_tell(partial(self.dialogue.branch, turn, index, candidate)):
            # The token stays selected, so that a reply can be steered by repeated branching.
            self.conversation.select(self.dialogue.last, index)

    def branch_to(self, number: int) -> None:
        """Branch to a candidate by its number; if the inspector is closed, open it instead."""
        if self.inspecting:
            self.inspector.action_branch(number)
        else:
            self.inspect()

    # Weak passages

    def go_to_weak(self, direction: int) -> None:
        """Select the next (1) or previous (-1) weak passage of the selected reply or of those beyond it."""
        replies = self.dialogue.replies[::direction]
        start = self.conversation.selected_reply
        if start in replies:
            replies = replies[replies.index(start) :]
        elif direction > 0 and start is None:
            replies = replies[-1:]
        transcript = self.conversation.transcript
        for turn in replies:
            here = transcript.pointer if turn is start else None
            passages = [passage.start for passage in weak_passages(self.dialogue.steps(turn))]
            beyond = [place for place in passages if here is None or (place - here) * direction > 0]
            if beyond:
                transcript.focus()
                self.conversation.select(turn, beyond[0] if direction > 0 else beyond[-1])
                return
        self.tell("There is no further weak passage." if start else "There is no weak passage.")
