"""The side panel: every figure of the reply under way, or of the last one."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.getters import query_one

from blendin_local.tui.about import About
from blendin_local.tui.chat import Chat
from blendin_local.tui.figures import Figures
from blendin_local.tui.widgets.blend_section import BlendSection
from blendin_local.tui.widgets.context_section import ContextSection
from blendin_local.tui.widgets.legend import Legend
from blendin_local.tui.widgets.pair_section import PairSection
from blendin_local.tui.widgets.reliability_section import ReliabilitySection
from blendin_local.tui.widgets.speed_section import SpeedSection


class Panel(VerticalScroll):
    reliability = query_one(ReliabilitySection)
    blend = query_one(BlendSection)
    speed = query_one(SpeedSection)
    context = query_one(ContextSection)

    def __init__(self, about: About, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._about = about

    def compose(self) -> ComposeResult:
        yield PairSection(self._about)
        yield ReliabilitySection()
        yield BlendSection()
        yield SpeedSection()
        yield ContextSection()
        yield Legend(explained=True)

    def show(self, figures: Figures, chat: Chat) -> None:
        """Show a reply's figures as they are now; never changes the layout."""
        self.reliability.show(figures, chat.calibrated)
        self.blend.show(figures)
        self.speed.show(figures.summary)
        self.context.show(chat.fills())
