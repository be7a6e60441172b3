"""The input: Enter sends, and several keys make a new line because terminals differ in which they report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, cast

from textual import _ansi_sequences, events
from textual.binding import Binding, BindingType
from textual.keys import Keys
from textual.message import Message
from textual.widgets import TextArea

from blendin_local.inert import inert

_NEWLINE_KEYS = {"shift+enter", "alt+enter", "ctrl+j", "ctrl+enter", "shift+\r", "alt+\r", "ctrl+\r"}
"""The last three are how Textual names the keys that tmux and xterm report in their own format."""

# Terminals without a keyboard protocol report alt+enter as escape and return, which Textual takes for a
# plain enter: it would send a message that was meant to go on.
cast(dict[str, Any], _ansi_sequences.ANSI_SEQUENCES_KEYS).setdefault("\x1b\r", (Keys.ControlJ,))


class Prompt(TextArea):
    """Grows with its text up to the height that app.tcss allows."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "send", "Send", show=False, id="prompt.send"),
        Binding("pageup", "scroll_conversation(-1)", "Page up", show=False, id="prompt.page_up"),
        Binding("pagedown", "scroll_conversation(1)", "Page down", show=False, id="prompt.page_down"),
    ]

    @dataclass
    class Sent(Message):
        """Enter was pressed on a text that is not blank. The text stays until `clear_sent`."""

        prompt: Prompt
        text: str

        @property
        def control(self) -> Prompt:
            return self.prompt

    @dataclass
    class PageWanted(Message):
        """The conversation shall scroll by a page, up if direction is negative."""

        direction: int

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(
            id=id, soft_wrap=True, show_line_numbers=False, tab_behavior="focus", compact=True,
            highlight_cursor_line=False, placeholder="Write a message",
        )  # fmt: skip

    def action_send(self) -> None:
        if self.text.strip():
            self.post_message(self.Sent(self, self.text.strip("\n")))

    def action_scroll_conversation(self, direction: int) -> None:
        self.post_message(self.PageWanted(direction))

    def restore(self, text: str) -> None:
        """Give a text back that was not sent, before what has been written since."""
        self.text = f"{text}\n{self.text}" if self.text.strip() else text
        self.move_cursor(self.document.end)

    async def _on_key(self, event: events.Key) -> None:
        if event.key in _NEWLINE_KEYS:
            event.stop()
            event.prevent_default()
            self._restart_blink()
            self._replace_via_keyboard("\n", *self.selection)
        elif event.key == "enter":
            # TextArea's own handler, which runs after this one, would insert a line break; the binding sends.
            event.prevent_default()

    async def _on_paste(self, event: events.Paste) -> None:
        # What is seen is what is sent: pasted control characters become visible before they are either.
        event.prevent_default()
        event.stop()
        text = event.text.replace("\r\n", "\n").replace("\r", "\n")
        if result := self._replace_via_keyboard(inert(text), *self.selection):
            self.move_cursor(result.end_location)
