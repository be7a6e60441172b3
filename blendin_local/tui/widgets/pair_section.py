"""The panel's head: which pair, which models, which method."""

from __future__ import annotations

from textual.content import Content
from textual.widget import Widget

from blendin_local.inert import inert
from blendin_local.tui import rows
from blendin_local.tui.about import About


class PairSection(Widget):
    def __init__(self, about: About) -> None:
        super().__init__()
        self._about = about

    def render(self) -> Content:
        about = self._about

        def model(role: str, name: str) -> Content:
            name = inert(name)
            room = rows.WIDTH - 7
            shown = name if len(name) <= room else f"{name[: room - 1]}…"
            return Content.assemble((f"{role:7}", "$foreground-muted"), shown)

        return rows.stacked(
            Content.styled(inert(about.pair) or "Two models", "bold"),
            model("base", about.base),
            model("guide", about.guide),
            model("method", about.method),
        )
