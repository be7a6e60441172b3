"""A form of all settings of the next reply."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.getters import query_one
from textual.screen import ModalScreen
from textual.widgets import Button, Select, Static

from blendin_local.errors import SettingError
from blendin_local.safe_text import sanitize
from blendin_local.settings import GenerationSettings
from blendin_local.tui.setting_fields import FIELDS, GROUPS, RANDOM, Field, changed
from blendin_local.tui.widgets.setting_row import SettingRow

_SYSTEM = "system"
_SYSTEM_HELP = "What both models are told before the conversation. Empty: nothing."


@dataclass(frozen=True, slots=True)
class Chosen:
    """Settings of the next reply. seed_random: whether every reply takes another seed."""

    settings: GenerationSettings
    system: str = ""
    seed_random: bool = True


class _Form(VerticalScroll, can_focus=False):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "app.focus_previous", "Up", show=False, id="settings.up"),
        Binding("down", "app.focus_next", "Down", show=False, id="settings.down"),
    ]


class SettingsScreen(ModalScreen[Chosen | None]):
    """A form of all settings. now: the current ones. recommended: the pair's. Returns None when cancelled."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "apply", "Apply", id="settings.apply"),
        Binding("ctrl+r", "recommend", "Recommended", id="settings.recommended"),
        Binding("escape", "dismiss", "Cancel", priority=True, id="settings.cancel"),
    ]

    about = query_one("#setting-about", Static)

    def __init__(self, now: Chosen, recommended: GenerationSettings) -> None:
        super().__init__()
        self._now = now
        self._recommended = recommended

    def compose(self) -> ComposeResult:
        with Vertical(id="settings") as page:
            page.border_title = "Settings"
            page.border_subtitle = "for the next reply"
            with _Form(id="setting-form"):
                for title, group in GROUPS.items():
                    yield Static(title, classes="title")
                    for field in group:
                        yield SettingRow(
                            field.name, field.label, self._text_now(field), dict(field.choices),
                            tall=field.name == "stop",
                        )  # fmt: skip
                yield Static("System prompt", classes="title")
                yield SettingRow(_SYSTEM, "", self._now.system, tall=True)
            yield Static(id="setting-about", markup=False)
            with Horizontal(id="setting-buttons"):
                yield Button("Apply ^s", id="apply", variant="primary", compact=True)
                yield Button("Recommended ^r", id="recommend", compact=True)
                yield Button("Cancel esc", id="dismiss", compact=True)

    def on_mount(self) -> None:
        self._row("method").focus_control()
        self._show_notes()

    # The values of the form

    def _row(self, name: str) -> SettingRow:
        return self.query_one(f"#setting-{name}", SettingRow)

    def _text_now(self, field: Field) -> str:
        if field.name == "seed" and self._now.seed_random:
            return RANDOM
        return field.text(self._now.settings)

    def _read(self) -> tuple[Chosen, dict[str, str]]:
        """Return the values of the form, and an error message for each field with a wrong value."""
        settings, wrong = self._now.settings, dict[str, str]()
        seed_random = self._row("seed").text.strip() == RANDOM
        for field in FIELDS.values():
            text = self._row(field.name).text
            # A field that was not edited keeps its exact value.
            if text == self._text_now(field) or (field.name == "seed" and seed_random):
                continue
            try:
                settings = changed(settings, {field.name: text})
            except SettingError as error:
                wrong[field.name] = str(error)
        system = self._row(_SYSTEM).text
        return Chosen(settings, system if system == self._now.system else system.strip(), seed_random), wrong

    # Notes and explanations

    @on(SettingRow.Changed)
    def _show_notes(self) -> None:
        chosen, wrong = self._read()
        for field in FIELDS.values():
            recommended = field.text(self._recommended)
            differs = field.name not in ("seed", "stop") and field.text(chosen.settings) != recommended
            self._row(field.name).show(
                idle=field.idle(chosen.settings),
                recommended=recommended if differs else "",
                wrong=field.name in wrong,
            )
        self._explain(wrong)

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        self._explain(self._read()[1])

    def _explain(self, wrong: dict[str, str]) -> None:
        """Show the first error below the form, or the help of the focused setting."""
        row = next((row for row in self.query(SettingRow) if row.has_focus_within), None)
        name = (row and row.name) or ""
        if wrong:
            sentence = wrong.get(name) or next(iter(wrong.values()))
            self.about.update(Content.styled(sanitize(sentence), "$text-error bold"))
            return
        lines = [_SYSTEM_HELP] if name == _SYSTEM else []
        if field := FIELDS.get(name):
            lines = [field.help]
            if meaning := field.choices.get(text := self._row(name).text):
                lines.append(f"{text}: {meaning}.")
        self.about.update(Content("\n".join(lines)))

    # Keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Leave Escape to an open list of choices."""
        return action != "dismiss" or not any(choice.expanded for choice in self.query(Select))

    @on(Button.Pressed)
    async def _press(self, event: Button.Pressed) -> None:
        await self.run_action(str(event.button.id))

    def action_apply(self) -> None:
        chosen, wrong = self._read()
        if wrong:
            self._row(next(iter(wrong))).focus_control()
        else:
            self.dismiss(chosen)

    def action_recommend(self) -> None:
        """Set the values recommended for the pair; seed, stop strings and system prompt stay."""
        for field in FIELDS.values():
            if field.name not in ("seed", "stop"):
                self._row(field.name).text = field.text(self._recommended)
