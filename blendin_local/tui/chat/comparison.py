"""Answer one message with several methods side by side, and continue with one of the replies."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from textual.screen import Screen

from blendin_local.engine.steps import Summary
from blendin_local.history.dialogue import Dialogue
from blendin_local.history.tree import Setup, Turn
from blendin_local.settings import BlendSettings
from blendin_local.tui.chat.conversation_view import ConversationView
from blendin_local.tui.chat.interfaces import ReplyEnd, Tell
from blendin_local.tui.chat.message_actions import MessageActions
from blendin_local.tui.chat.metrics_display import MetricsDisplay
from blendin_local.tui.chat.reply_controller import ReplyController
from blendin_local.tui.commands import is_command, message_of
from blendin_local.tui.phase import Phase
from blendin_local.tui.reply_text import Piece
from blendin_local.tui.screens.compare import CompareScreen


@dataclass(eq=False)
class Comparison:
    """Runs a comparison; a `ReplySink` while its screen is open.

    All replies are kept as siblings in the conversation. host: the screen below. methods: in order.
    """

    host: Screen[None]
    dialogue: Dialogue
    methods: Sequence[str]
    replies: ReplyController
    conversation: ConversationView
    messages: MessageActions
    metrics: MetricsDisplay
    tell: Tell
    screen: CompareScreen | None = None
    _question: Turn | None = None
    _left: deque[str] = field(default_factory=deque)
    _answers: list[Turn | None] = field(default_factory=list)
    _seed: int | None = None

    @property
    def is_open(self) -> bool:
        return self.screen in self.host.app.screen_stack

    def begin(self) -> None:
        """Answer the text of the input with all methods, or the last message again if it is empty."""
        if not self.replies.may_act():
            return
        typed = self.messages.prompt.text.strip()
        if self.messages.editing is not None or is_command(typed):
            self.tell("Send what is in the input first, or clear it: every method will answer it.")
            return
        text = self.messages.expanded(message_of(typed)) if typed else ""
        if text is None:
            return
        last = self.dialogue.question(text) if text else self.dialogue.last
        if last is None:
            self.tell("Write a message first: every method will answer it.")
            return
        if text:
            self.messages.prompt.clear()
        self.host.run_worker(self._run(self.dialogue.question_of(last)))

    async def _run(self, question: Turn) -> None:
        setup, before = self.dialogue.setup, self.dialogue.last
        self._question, self._seed = question, None
        self._left, self._answers = deque(self.methods), []
        self.screen = CompareScreen(question.text, self.methods, self._next_method)
        picked = await self.host.app.push_screen_wait(self.screen)
        self._left.clear()
        if self.replies.phase is Phase.WRITING:
            self.replies.stop()
        self.dialogue.setup = setup
        answer = self._answers[picked] if picked is not None else None
        if answer is not None and answer.setup is not None:
            self.dialogue.select(answer)
            self.replies.change(_with_blend(setup, answer.setup.settings.blend))
        elif before is not None and before.id in self.dialogue.tree.turns:
            self.dialogue.select(before)
        self.conversation.rebuild(keep=False)
        self.metrics.show()

    def _next_method(self) -> None:
        """Start the reply of the next method, with the seed of the first."""
        if not self._left or not self.is_open:
            return
        setup = self.dialogue.setup
        self.dialogue.setup = _with_blend(setup, replace(setup.settings.blend, method=self._left.popleft()))
        request = self.dialogue.regenerate(self._question, seed=self._seed)
        self._seed = request.settings.seed
        self.replies.start(request)

    # The `ReplySink`

    def started(self, turn: Turn) -> None:
        if self.screen is not None:
            self.screen.begin(turn)

    def write(self, turn: Turn, pieces: list[Piece], summary: Summary) -> None:
        if self.screen is not None:
            self.screen.write(pieces)
            self.screen.show(summary)

    def ended(self, end: ReplyEnd) -> None:
        self._answers.append(end.turn)
        if self.screen is not None:
            self.screen.end(end.turn, end.error)
        self._next_method()


def _with_blend(setup: Setup, blend: BlendSettings) -> Setup:
    return replace(setup, settings=replace(setup.settings, blend=blend))
