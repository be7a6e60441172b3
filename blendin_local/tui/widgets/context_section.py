"""How full the contexts of both models are."""

from __future__ import annotations

from collections.abc import Mapping

from textual.content import Content
from textual.widget import Widget

from blendin_local.tui import rows
from blendin_local.tui.bars import bar
from blendin_local.tui.chat import Fill

_NEARLY_FULL = 0.85
_NUMBERS = 12


class ContextSection(Widget):
    def __init__(self) -> None:
        super().__init__()
        self._fills: Mapping[str, Fill] = {}

    def show(self, fills: Mapping[str, Fill]) -> None:
        if fills != self._fills:
            self._fills = fills
            self.refresh()

    def render(self) -> Content:
        return rows.stacked(
            rows.heading("Context"), *(_row(role, self._fills.get(role)) for role in ("base", "guide"))
        )


def _row(role: str, fill: Fill | None) -> Content:
    if fill is None or not fill.size:
        return rows.fact(role, "–")
    share = fill.used / fill.size
    style = "$text-warning" if share > _NEARLY_FULL else "$source-base"
    full, rest = bar(share, rows.WIDTH - 7 - _NUMBERS)
    numbers = f"{fill.used}/{fill.size}"
    return Content.assemble(
        f"{role:7}", (full, style), (rest, "$foreground-disabled"), f"{numbers:>{_NUMBERS}}"
    )
