"""The legend of the colours and marks of tokens, in one line or with explanations."""

from __future__ import annotations

from typing import ClassVar

from textual.content import Content
from textual.widget import Widget

from blendin_local.presentation.colour_scale import MEANINGS, Mode, quantity, ranges
from blendin_local.tui.rows import MUTED

_SOURCES = {
    "base": ("base", "the base's own choice"),
    "guide": ("guide", "the guide's choice"),
    "both": ("both", "both chose it"),
    "blend": ("blend", "only the mixture did"),
    "user": ("you", "you chose or wrote it"),
}
"""(sample, explanation) by style."""


class Legend(Widget):
    """Five lines with explanations, or one line, which `shorten` can reduce to its title."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        *(f"legend--{source}" for source in _SOURCES),
        *(f"legend--band-{place}" for place in range(4)),
    }

    def __init__(self, *, explained: bool = False) -> None:
        super().__init__(classes="-explained" if explained else None)
        self._explained = explained
        self._mode: Mode | None = "source"
        self._short = False

    def show(self, mode: Mode | None) -> None:
        """Explain the colours of a mode; None for a view without colours."""
        if mode != self._mode:
            self._mode = mode
            self._redraw()

    def shorten(self, width: int) -> None:
        """Show only the title if the line is wider than `width` cells."""
        short = self._line().cell_length > width
        if short != self._short:
            self._short = short
            self._redraw()

    def _redraw(self) -> None:
        # With explanations, the height is the same for all modes.
        self.refresh(layout=not self._explained)

    def render(self) -> Content:
        if self._explained:
            return self._paragraph()
        return Content.styled(self._title, MUTED) if self._short else self._line()

    @property
    def _title(self) -> str:
        return quantity(self._mode) if self._mode else "Markdown"

    def _samples(self) -> list[tuple[Content, str]]:
        """Return (styled sample, explanation) of each colour."""
        if self._mode is None:
            return []
        if self._mode == "source":
            entries = [(f"legend--{look}", name, text) for look, (name, text) in _SOURCES.items()]
        else:
            bands = zip(ranges(self._mode), MEANINGS[self._mode], strict=True)
            entries = [(f"legend--band-{i}", name, text) for i, (name, text) in enumerate(bands)]
        return [(Content.assemble((name, self.get_visual_style(look))), text) for look, name, text in entries]

    def _line(self) -> Content:
        samples = [sample for sample, _ in self._samples()]
        if self._mode == "source":
            return Content("  ").join(samples)
        return Content("  ").join([Content.styled(self._title, MUTED), *samples])

    def _paragraph(self) -> Content:
        lines = [
            Content.assemble(sample.pad_right(9 - sample.cell_length), (text, MUTED))
            for sample, text in self._samples()
        ]
        title = [] if self._mode in (None, "source") else [Content.styled(f"Colours: {self._title}", "bold")]
        return Content("\n").join([*title, *lines])
