"""The input of messages and commands, with completion and a history.

Enter sends; several keys insert a line break, because terminals report different ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from textual import events, on
from textual.actions import SkipAction
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widget import Widget
from textual.widgets import TextArea

from blendin_local.tui.commands import Names, is_command, message_of, typed_for
from blendin_local.tui.completions import Completion, completions
from blendin_local.tui.prompt_history import PromptHistory
from blendin_local.tui.widgets.suggestions import Suggestions

_NEWLINE_KEYS = {"shift+enter", "alt+enter", "ctrl+j", "ctrl+enter", "shift+\r", "alt+\r", "ctrl+\r"}
"""The last three are how Textual names the keys that tmux and xterm report in their own format."""


class Prompt(TextArea):
    """A text area that grows with its text, and mounts its suggestions before itself.

    names: complete arguments of commands. history: sent messages.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "send", "Send", show=False, id="prompt.send"),
        Binding("tab", "accept", "Complete", show=False, id="prompt.complete"),
        Binding("escape", "close", "Close the list", show=False, id="prompt.close"),
        Binding("pageup", "scroll_conversation(-1)", "Page up", show=False, id="prompt.page_up"),
        Binding("pagedown", "scroll_conversation(1)", "Page down", show=False, id="prompt.page_down"),
    ]

    @dataclass
    class Entered(Message):
        """Enter was pressed on a text that is not blank. A handler that rejects the text restores it."""

        prompt: Prompt
        text: str

        @property
        def control(self) -> Prompt:
            return self.prompt

    class Sent(Entered):
        """The text is a message."""

    class Commanded(Entered):
        """The text is a command: it begins with one slash."""

    @dataclass
    class PageWanted(Message):
        """Scroll the conversation by a page, up if direction is negative."""

        direction: int

    def __init__(
        self, *, names: Names | None = None, history: PromptHistory | None = None, id: str | None = None
    ) -> None:
        super().__init__(
            id=id, soft_wrap=True, show_line_numbers=False, tab_behavior="focus", compact=True,
            highlight_cursor_line=False, placeholder="Write a message; / for commands, @ for a file",
        )  # fmt: skip
        self.names = names or Names()
        self.past = history or PromptHistory()
        self.suggestions = Suggestions(self)
        self._looked_at: tuple[int, str] | None = None

    async def on_mount(self) -> None:
        assert isinstance(self.parent, Widget)
        self.suggestions.offer([])
        await self.parent.mount(self.suggestions, before=self)

    def action_send(self) -> None:
        self._suggest()
        # Enter completes only commands: a message may end with the start of a file name.
        chosen = self.suggestions.chosen if self._is_in_command() else None
        if chosen and self._typed_since(chosen.start) != chosen.text:
            self._accept(chosen)
        elif self.text.strip():
            typed = self.text.strip("\n")
            self.past.add(typed)
            # At once, because keys typed ahead belong to the next message.
            self.clear()
            self._settle()
            self.post_message(
                self.Commanded(self, typed) if is_command(typed) else self.Sent(self, message_of(typed))
            )

    def action_scroll_conversation(self, direction: int) -> None:
        self.post_message(self.PageWanted(direction))

    def restore(self, message: str) -> None:
        """Insert a message that was not sent before the text typed since then."""
        self.give_back(typed_for(message))

    def give_back(self, typed: str) -> None:
        """Insert a typed text, for example a command, before the text typed since then."""
        self.text = f"{typed}\n{self.text}" if self.text.strip() else typed
        self.move_cursor(self.document.end)
        self._settle()

    # Suggestions

    @on(TextArea.Changed)
    @on(TextArea.SelectionChanged)
    def _suggest(self) -> None:
        """Offer completions at the cursor. Actions call it too: a key may arrive before `Changed` does."""
        row, column = self.cursor_location
        line = self.document.get_line(row)
        before = line[:column]
        if self._looked_at == (row, before):
            return
        self._looked_at = row, before
        inside_word = line[column : column + 1].strip()
        self.suggestions.offer([] if inside_word else completions(before, self.names, first=row == 0))

    def _settle(self) -> None:
        """Offer nothing until the text or the cursor changes."""
        row, column = self.cursor_location
        self._looked_at = row, self.document.get_line(row)[:column]
        self.suggestions.offer([])

    def _is_in_command(self) -> bool:
        return self.cursor_location[0] == 0 and is_command(self.text)

    def _typed_since(self, start: int) -> str:
        row, column = self.cursor_location
        return self.document.get_line(row)[start:column]

    @on(Suggestions.Picked)
    def _take_clicked(self, message: Suggestions.Picked) -> None:
        self._accept(message.completion)

    def _accept(self, completion: Completion) -> None:
        row, column = self.cursor_location
        self._put(completion.text, (row, completion.start), (row, column))

    def action_accept(self) -> None:
        self._suggest()
        if not (chosen := self.suggestions.chosen):
            raise SkipAction
        self._accept(chosen)

    def action_close(self) -> None:
        self._settle()

    # Up and down: within the suggestions, within the text, and from its edges through the history

    def action_cursor_up(self, select: bool = False) -> None:
        if select or not self._step(-1):
            super().action_cursor_up(select)

    def action_cursor_down(self, select: bool = False) -> None:
        if select or not self._step(1):
            super().action_cursor_down(select)

    def _step(self, by: int) -> bool:
        self._suggest()
        if self.suggestions.chosen:
            self.suggestions.move(by)
            return True
        up = by < 0
        at_edge = self.navigator.is_first_wrapped_line if up else self.navigator.is_last_wrapped_line
        if not at_edge(self.cursor_location):
            return False
        found = self.past.earlier(self.text) if up else self.past.later(self.text)
        if found is None:
            return False
        self._put(found, (0, 0), self.document.end)
        if up:
            # On the first row, so that the same key continues with the message before.
            self.move_cursor((0, len(self.document.get_line(0))))
        self._settle()
        return True

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Leave F6 and F7, which select text in a TextArea, to the screen, and Escape if no list is open."""
        if action == "close":
            self._suggest()
            return bool(self.suggestions.chosen)
        return action not in ("select_line", "select_all")

    # Typing

    async def _on_key(self, event: events.Key) -> None:
        if event.key in _NEWLINE_KEYS:
            event.stop()
            event.prevent_default()
            self._restart_blink()
            self._put("\n", *self.selection)
        elif event.key == "enter" and self._enter_sends:
            # A binding would run after the keys in the queue, which belong to the next message.
            event.stop()
            event.prevent_default()
            self.action_send()

    @property
    def _enter_sends(self) -> bool:
        return "enter" in self.app._keymap.get("prompt.send", "enter").split(",")

    def _put(self, text: str, start: tuple[int, int], end: tuple[int, int]) -> None:
        if result := self._replace_via_keyboard(text, start, end):
            self.move_cursor(result.end_location)
