"""Help: all keys, commands and metrics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Grid, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from blendin_local.presentation.explanation import FIGURE_HELP
from blendin_local.tui.commands import SPECS

KEYS: dict[str, dict[str, str]] = {
    "Writing": {
        "prompt.send": "send the message",
        "Shift+Enter, Alt+Enter, Ctrl+J": "begin a new line",
        "↑, ↓": "earlier messages, from the first row; and back, from the last",
        "prompt.complete": "take a suggestion (/ offers commands, @ files), or go to the conversation",
        "prompt.close": "close the suggestions",
        "prompt.page_up,prompt.page_down": "scroll the conversation",
    },
    "Everywhere": {
        "chat.stop": "stop the reply, whose text stays; then close what is open; then go to the input",
        "chat.again": "write the reply again, beside the old one",
        "chat.new": "new conversation",
        "chat.open": "earlier conversations: search, rename, delete",
        "chat.panel": "show or hide the panel",
        "chat.pairs": "load other models",
        "chat.settings": "method, γ, sampling, system prompt of the next reply",
        "chat.compare": "answer with several methods side by side",
        "chat.view": "show all replies formatted, or token by token",
        "chat.colours": "colour tokens by source, α, base confidence or divergence",
        "chat.weak": "go to the next weak passage",
        "chat.help": "this help",
        "app.quit": "quit",
    },
    "In the conversation (Tab leads there)": {
        "transcript.previous_message,transcript.next_message": "choose a message",
        "transcript.previous_token,transcript.next_token": "walk along the tokens of a reply",
        "transcript.inspect": "inspect the token: who would have said what, and why",
        "1 … 9": "in the inspector: go on from another candidate",
        "transcript.previous,transcript.next": "other versions of a message",
        "transcript.view": "show this reply formatted, or token by token",
        "transcript.thinking": "show what the model thought before its answer, or only its length",
        "transcript.colours": "other colours",
        "transcript.previous_weak,transcript.next_weak": "weak passage before, weak passage after",
        "transcript.again": "write this reply again",
        "transcript.continue": "continue a reply that was cut off",
        "transcript.edit": "edit this message or reply",
        "transcript.delete": "delete; a question goes with its answers, a reply with all that follows",
        "transcript.undo": "bring back what was deleted",
        "transcript.copy": "copy the message",
        "transcript.copy_code": "copy the next code block in it",
    },
    "In the panel": {
        "panel.up,panel.down": "another metric: what it means, and what to do about it",
    },
    "In the inspector": {
        "inspector.up,inspector.down": "another candidate",
        "inspector.left,inspector.right": "another column",
        "inspector.branch": "branch: the reply goes on from that candidate, the old one stays",
        "inspector.previous,inspector.next": "the token before, the token after",
    },
}
"""Descriptions by section and by ids of bindings, or keys as displayed."""

_NAMES = {
    "escape": "Esc", "enter": "Enter", "up": "↑", "down": "↓", "left": "←", "right": "→", "delete": "Del",
    "pageup": "Page Up", "pagedown": "Page Down", "left_square_bracket": "[", "right_square_bracket": "]",
    "comma": ",", "full_stop": ".", "tab": "Tab",
}  # fmt: skip


def key_text(keys: str) -> str:
    """Format keys for display: "ctrl+r" becomes Ctrl+R."""
    return ", ".join(_one_key(key.strip()) for key in keys.split(","))


def _one_key(key: str) -> str:
    *held, last = key.split("+")
    name = _NAMES.get(last) or (last.upper() if held or last[1:].isdigit() else last)
    return "+".join([*(each.capitalize() for each in held), name])


class HelpScreen(ModalScreen[None]):
    """Shows the help. bindings: those of the chat. keymap: keys that the user has changed, by id."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,f1,q", "dismiss", "Close", priority=True, id="help.close"),
    ]

    def __init__(self, bindings: Iterable[BindingType], keymap: Mapping[str, str]) -> None:
        super().__init__()
        self._keys = {each.id: each.key for each in bindings if isinstance(each, Binding) and each.id} | dict(
            keymap
        )

    def compose(self) -> ComposeResult:
        with VerticalScroll(id="help") as scroll:
            scroll.border_title = "Help"
            scroll.border_subtitle = "Escape closes"
            for title, entries in KEYS.items():
                yield from _section(title, ((self._keys_of(ids), text) for ids, text in entries.items()))
            yield from _section("Commands", ((spec.usage.replace("|", " | "), spec.help) for spec in SPECS))
            yield from _section("Metrics", FIGURE_HELP.items())

    def _keys_of(self, ids: str) -> str:
        if "." not in ids:
            return ids
        return "  ".join(key_text(self._keys[id]) for id in ids.split(",") if id in self._keys)


def _section(title: str, entries: Iterable[tuple[str, str]]) -> ComposeResult:
    yield Static(title, classes="title", markup=False)
    with Grid():
        for name, text in entries:
            yield Static(name, classes="name", markup=False)
            yield Static(text, markup=False)
