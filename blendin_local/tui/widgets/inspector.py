"""The inspector: source, metrics and candidates of one token."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from rich.cells import cell_len
from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.geometry import Region
from textual.getters import query_one
from textual.message import Message
from textual.widgets import Static

from blendin_local.engine.steps import WEAK_BELOW, Candidate, Source, Step
from blendin_local.presentation.explanation import SPEAKERS, explain_alpha
from blendin_local.settings import GenerationSettings
from blendin_local.tui.number_keys import number_keys
from blendin_local.tui.rows import MUTED, UNKNOWN, PanelLayout, number
from blendin_local.tui.token_text import spoken
from blendin_local.tui.widgets.candidates_table import CandidatesTable

_SIDE_BY_SIDE = 76
"""Width from which metrics and candidates are side by side."""
_EMPTY = (
    "Choose a token: go to the conversation with Tab and walk with the arrow keys, or click on a token. "
    "Here you see who chose it and why, and what else was likely."
)
_STYLES = {
    Source.BASE: "$source-base",
    Source.GUIDE: "$source-guide underline",
    Source.BOTH: "$source-both bold",
    Source.BLEND: "$source-blend bold underline",
    Source.USER: "$text-primary bold",
}
_WIDEST = 38
"""Largest width of the metrics."""
_GAP = 2
_INDENT = " " * 4
_UNBROKEN = re.compile(r"\([^()]*\)|\S+, \S+\)$")
_NO_BREAK = "\N{NO-BREAK SPACE}"


class Inspector(VerticalScroll, can_focus=True):
    """Shows one step: metrics and candidates side by side if there is room, else below each other."""

    HELP = """\
## The inspector
The chosen token is marked with ✓. Probabilities are the models' own, before temperature and penalties.

- **up, down**: another candidate; **left, right**: another column
- **Enter**, or **1** to **9**: answer again from that candidate; the reply so far is kept beside the new one
- **h, l** or **comma, full stop**: the token before, the token after
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "row(-1)", "Candidate above", show=False, id="inspector.up"),
        Binding("down", "row(1)", "Candidate below", show=False, id="inspector.down"),
        Binding("left", "column(-1)", "Column before", show=False, id="inspector.left"),
        Binding("right", "column(1)", "Column after", show=False, id="inspector.right"),
        Binding("enter", "branch", "Branch", id="inspector.branch"),
        Binding("h,comma", "move(-1)", "Token before", show=False, id="inspector.previous"),
        Binding("l,full_stop", "move(1)", "Token after", show=False, id="inspector.next"),
        *number_keys("branch", "Branch to candidate", "inspector.branch"),
    ]

    table = query_one(CandidatesTable)
    _facts = query_one("#inspector-facts", Static)

    @dataclass
    class Branch(Message):
        """Continue the reply from this step with another candidate."""

        candidate: Candidate

    @dataclass
    class Move(Message):
        """Select the token `delta` steps further on."""

        delta: int

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._step: Step | None = None
        self._settings = GenerationSettings()
        self._calibrated = False
        self._position = (0, 0)

    def compose(self) -> ComposeResult:
        yield Static(_EMPTY, id="inspector-facts", markup=False)
        yield CandidatesTable()

    def show(
        self, step: Step | None, settings: GenerationSettings, calibrated: bool, position: tuple[int, int]
    ) -> None:
        """Show a step of a reply with its settings; without a step, explain how to choose one.

        position: (index of the step, number of steps).
        """
        self._step, self._settings, self._calibrated, self._position = step, settings, calibrated, position
        self.table.show(step)
        self._draw()

    def _draw(self) -> None:
        if self._step is None:
            self._facts.update(_EMPTY)
        else:
            self._facts.update(Content("\n").join(self._lines(self._step)))

    def on_resize(self, event: events.Resize) -> None:
        self.set_class(event.size.width >= _SIDE_BY_SIDE, "-side-by-side")
        self._draw()

    @property
    def _room(self) -> int:
        """Width of the metrics; computed here, because the layout may not have run yet."""
        beside = self.has_class("-side-by-side")
        return _WIDEST if beside else self.scrollable_content_region.width

    # Keys

    def on_focus(self) -> None:
        self.table.active = True

    def on_blur(self) -> None:
        self.table.active = False

    def action_row(self, by: int) -> None:
        self.table.move_row(by)
        row = Region(0, self.table.virtual_region.y + 1 + self.table.row, 1, 1)
        self.scroll_to_region(row, animate=False)

    def action_column(self, by: int) -> None:
        self.table.move_column(by)

    def action_branch(self, number: int = 0) -> None:
        self.table.choose(number - 1 if number else None)

    def action_move(self, delta: int) -> None:
        self.post_message(self.Move(delta))

    @on(CandidatesTable.Chosen)
    def _branch(self, event: CandidatesTable.Chosen) -> None:
        event.stop()
        self.post_message(self.Branch(event.candidate))

    # Metrics

    def _lines(self, step: Step) -> Iterator[Content]:
        index, count = self._position
        style = _STYLES.get(step.source, "bold")
        measured = step.c_b is not None or step.c_g is not None
        yield Content.assemble((f"{index + 1} of {count}  ", MUTED), (spoken(step), style))
        yield Content.styled(SPEAKERS[step.source], "bold")
        if measured:
            temperature = self._settings.sampling.temperature
            drawn = f", temperature {temperature:g}" if temperature else ""
            yield Content.styled(f"probability {step.probability:.2f}{drawn}", MUTED)
        for statement in explain_alpha(step, self._settings.blend):
            yield Content(_broken(statement, self._room))
        if measured:
            yield Content()
            yield from self._metrics(step)

    def _metrics(self, step: Step) -> Iterator[Content]:
        layout = PanelLayout(min(self._room, _WIDEST))
        weak = WEAK_BELOW
        yield layout.heading("", "base", "guide")
        yield layout.fact("confidence", number(step.c_b, weak) + number(step.c_g, weak))
        calibrated = number(step.r_b, weak) + number(step.r_g, weak)
        yield layout.fact("reliability", calibrated if self._calibrated else "not calibrated")
        yield layout.fact("entropy, bits", number(step.base_entropy) + number(step.guide_entropy))
        rank = UNKNOWN if step.guide_rank is None else str(step.guide_rank + 1)
        halves = PanelLayout((layout.width - _GAP) // 2)
        for left, right in (
            (halves.fact("α", number(step.alpha)), halves.fact("agreement", number(step.agreement))),
            (halves.fact("divergence", number(step.divergence)), halves.fact("guide rank", rank)),
        ):
            yield layout.apart(left, right)


def _broken(statement: str, width: int) -> str:
    """Break an equation that exceeds `width` at its equals signs, and indent further lines."""
    if cell_len(statement) <= width or " = " not in statement:
        return statement
    left, equals, right = statement.partition(" = ")
    lines = (left + equals + right.replace(" = ", "\n  = ")).split("\n")
    # Inner brackets, and the two bounds of a `clip`, stay on one line.
    kept = (_UNBROKEN.sub(lambda part: part[0].replace(" ", _NO_BREAK), line) for line in lines)
    wrapped = (textwrap.fill(line, max(width, _WIDEST // 2), subsequent_indent=_INDENT) for line in kept)
    return "\n".join(wrapped).replace(_NO_BREAK, " ")
