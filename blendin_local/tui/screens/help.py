"""All keys, and what the figures mean."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Grid, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

KEYS = {
    "Enter": "send the message",
    "Shift+Enter, Alt+Enter, Ctrl+J": "begin a new line",
    "Escape": "stop the reply; what was said stays",
    "Ctrl+R": "write the last reply again",
    "Ctrl+N": "new conversation (twice: the old one is not kept)",
    "F2": "show or hide the panel",
    "Page Up, Page Down, mouse wheel": "scroll the conversation",
    "Tab": "go to the conversation (arrows, Home, End scroll it) and back",
    "Ctrl+C": "copy the text selected with the mouse",
    "Ctrl+P": "all commands, themes among them",
    "F1": "this help",
    "Ctrl+Q": "quit",
}

FIGURES = {
    "Confidence": "The probability that a model gives to its own favourite next token. Where the base's is "
    "under γ, the guide is asked.",
    "Reliability": "The confidence corrected by how often this pair's model was right at such a confidence. "
    "Shown only for pairs that have been calibrated.",
    "α": "The guide's share in the mixture, at the last step where it was asked and on average.",
    "intervened": "Share of steps at which the base was unsure and the guide was blended in. Where it is "
    "high, the base may be the wrong model for what you ask.",
    "changed": "Share of steps at which the mixture's favourite was not the base's.",
    "guide words": "Share of words that began with the guide's favourite token.",
    "steps under 0.4": "Weak steps: whoever spoke was unsure. Read those passages with care.",
    "first token after": "How long both models read the conversation before they wrote.",
    "Context": "Tokens of the conversation that each model holds. When one is full, the oldest messages are "
    "left out, and the reply says so.",
}


class HelpScreen(ModalScreen[None]):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,f1,q", "dismiss", "Close", id="help.close"),
    ]

    def compose(self) -> ComposeResult:
        with VerticalScroll(id="help") as scroll:
            scroll.border_title = "Help"
            scroll.border_subtitle = "Escape closes"
            for title, entries in (("Keys", KEYS), ("The figures", FIGURES)):
                yield Static(title, classes="title")
                with Grid():
                    for name, text in entries.items():
                        yield Static(name, classes="name", markup=False)
                        yield Static(text, markup=False)
