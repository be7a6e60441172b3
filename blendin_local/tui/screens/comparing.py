"""One message answered by several methods, side by side; one reply is picked to go on with."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

from textual import work

from blendin_local.history.tree import Turn
from blendin_local.tui.commands import is_command, message_of
from blendin_local.tui.phase import Phase
from blendin_local.tui.screens.base import once_stopped
from blendin_local.tui.screens.compare import CompareScreen
from blendin_local.tui.screens.dialogs import Dialogs


class Comparing(Dialogs):
    """The replies are siblings in the conversation; they are kept whether they are picked or not."""

    _comparison: CompareScreen | None = None

    @property
    def comparison(self) -> CompareScreen | None:
        """The screen that shows the replies, while it is open."""
        return self._comparison if self._comparison in self.app.screen_stack else None

    @once_stopped
    def action_compare(self) -> None:
        """Answer what is in the input, or the last message again, with the methods that the user prefers."""
        if not self.may_act():
            return
        typed = self.prompt.text.strip()
        if self.editing is not None or is_command(typed):
            self.tell("Send what is in the input first, or clear it: every method will answer it.")
            return
        text = self.expanded(message_of(typed)) if typed else ""
        if text is None:
            return
        last = self.dialogue.question(text) if text else self.dialogue.last
        if last is None:
            self.tell("Write a message first: every method will answer it.")
            return
        if text:
            self.prompt.clear()
        self._compare(self.dialogue.question_of(last))

    @work
    async def _compare(self, question: Turn) -> None:
        dialogue, setup, before = self.dialogue, self.dialogue.setup, self.dialogue.last
        methods = self.chat_app.preferences.compare.methods
        self._question, self._left, self._answers = question, deque(methods), list[Turn | None]()
        self._seed: int | None = None
        self._comparison = CompareScreen(question.text, methods, self._next_method)
        picked = await self.app.push_screen_wait(self._comparison)
        self._left.clear()
        if self.phase is Phase.WRITING:
            self.worker.stop()
            self.show_phase(Phase.STOPPING)
        dialogue.setup = setup
        answer = self._answers[picked] if picked is not None else None
        if answer is not None and answer.setup is not None:
            dialogue.select(answer)
            self.change(replace(setup, settings=replace(setup.settings, blend=answer.setup.settings.blend)))
        elif before is not None and before.id in dialogue.tree.turns:
            dialogue.select(before)
        self.rebuild(keep=False)
        self.show_figures()

    def _next_method(self) -> None:
        """Have the next method answer, all with the same seed."""
        if not self._left or self.comparison is None:
            return
        setup = self.dialogue.setup
        blend = replace(setup.settings.blend, method=self._left.popleft())
        self.dialogue.setup = replace(setup, settings=replace(setup.settings, blend=blend))
        request = self.dialogue.again(self._question, seed=self._seed)
        self._seed = request.settings.seed
        assert self.dialogue.reply is not None
        self.comparison.begin(self.dialogue.reply)
        self.start(request)

    def compared(self, turn: Turn | None, error: str) -> None:
        """A method has answered, or failed to."""
        assert self.comparison is not None
        self._answers.append(turn)
        self.comparison.end(turn, error)
        self._next_method()
