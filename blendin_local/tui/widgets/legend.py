"""What the colours and marks of a reply mean: in one line, or explained."""

from __future__ import annotations

from typing import ClassVar

from textual.content import Content
from textual.widget import Widget

MEANINGS = {
    "base": "the base's own choice",
    "guide": "the guide's choice",
    "both": "both chose it",
    "blend": "only the mixture did",
}


class Legend(Widget):
    COMPONENT_CLASSES: ClassVar[set[str]] = {"legend--base", "legend--guide", "legend--both", "legend--blend"}

    def __init__(self, *, explained: bool = False) -> None:
        super().__init__(classes="-explained" if explained else None)
        self._explained = explained

    def render(self) -> Content:
        samples = {source: (source, self.get_visual_style(f"legend--{source}")) for source in MEANINGS}
        if not self._explained:
            return Content("  ").join(Content.assemble(sample) for sample in samples.values())
        return Content("\n").join(
            Content.assemble(sample, " " * (7 - len(source)), (MEANINGS[source], "$foreground-muted"))
            for source, sample in samples.items()
        )
