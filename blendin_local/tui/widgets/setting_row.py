"""One setting in a form: its name, a control, and a note."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.css.query import NoMatches
from textual.message import Message
from textual.widgets import Input, Select, Static, TextArea
from textual.widgets.select import NoSelection

from blendin_local.tui.editable import editable

_CHOICE = 18


class _Choice(Select[str], inherit_bindings=False):
    """A list of choices that leaves the arrow keys to the form."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,space", "show_overlay", "Show the choices", show=False, id="settings.choose"),
    ]

    def _watch_value(self, value: str | NoSelection) -> None:
        # The label may be missing in a form that is closed while it is still opening.
        with suppress(NoMatches):
            super()._watch_value(value)


class SettingRow(Horizontal):
    """A row of the form.

    choices: descriptions by allowed text; if empty, any text can be typed, with several lines if tall.
    Control characters are shown as visible ones; a text that is not edited keeps them.
    """

    @dataclass
    class Changed(Message):
        """The text has changed."""

        row: SettingRow

    def __init__(
        self, name: str, label: str, text: str, choices: dict[str, str] | None = None, *, tall: bool = False
    ) -> None:
        super().__init__(id=f"setting-{name}", name=name)
        self._label = label
        self._given = text
        self._control = _control(editable(text), choices or {}, tall)
        self._note = Static(classes="note", markup=False)
        self._noted = ""

    def compose(self) -> ComposeResult:
        yield Static(self._label, classes="label", markup=False)
        yield self._control
        yield self._note

    @property
    def text(self) -> str:
        control = self._control
        shown = control.text if isinstance(control, TextArea) else str(control.value)
        return self._given if shown == editable(self._given) else shown

    @text.setter
    def text(self, text: str) -> None:
        self._given = text
        if isinstance(self._control, TextArea):
            self._control.text = editable(text)
        else:
            self._control.value = editable(text)

    def show(self, *, idle: str = "", recommended: str = "", wrong: bool = False) -> None:
        """Show that the value is wrong, why the setting has no effect, or which value is recommended."""
        self.set_class(bool(idle), "-idle")
        self.set_class(wrong, "-wrong")
        note = "✗ wrong" if wrong else idle or (f"recommended: {recommended}" if recommended else "")
        # This runs at every key, and an update would lay out the whole form.
        if note != self._noted:
            self._noted = note
            self._note.update(note)

    # With :focus-within, the label stays marked after the focus has left the row.

    def on_descendant_focus(self) -> None:
        self.add_class("-focused")

    def on_descendant_blur(self) -> None:
        self.remove_class("-focused")

    def focus_control(self) -> None:
        self._control.focus()

    @on(Input.Changed)
    @on(Select.Changed)
    @on(TextArea.Changed)
    def _tell(self, event: Message) -> None:
        event.stop()
        self.post_message(self.Changed(self))


def _control(text: str, choices: dict[str, str], tall: bool) -> Input | Select[str] | TextArea:
    if choices:
        # The padded choice fills the closed control, so that descriptions show in the open list only.
        options = [(Content(f"{choice:{_CHOICE}}{what}"), choice) for choice, what in choices.items()]
        return _Choice(options, value=text, allow_blank=False, compact=True)
    if tall:
        return TextArea(text, compact=True, soft_wrap=True, highlight_cursor_line=False)
    return Input(text, compact=True)
