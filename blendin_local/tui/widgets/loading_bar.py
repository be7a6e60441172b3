"""Progress of loading a pair: the current model and its loaded share, with the memory estimate."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static

from blendin_local.safe_text import sanitize
from blendin_local.tui.about import About
from blendin_local.tui.bars import bar

_BAR = 12


class LoadingBar(Static):
    def __init__(self, about: About, *, id: str | None = None) -> None:
        super().__init__(id=id, markup=False)
        self._about = about
        self._shown: tuple[str, float] | None = None

    def on_mount(self) -> None:
        self.show("", 0.0)

    def about(self, about: About) -> None:
        """Set the pair that is being loaded."""
        self._about, self._shown = about, None
        self.show("", 0.0)
        # Its sentences may take another number of lines.
        self.refresh(layout=True)

    def show(self, role: str, share: float) -> None:
        """Show the loaded share of a model; role is "" before the first report."""
        if (role, share) == self._shown:
            return
        self._shown = (role, share)
        name = sanitize({"base": self._about.base, "guide": self._about.guide}.get(role, ""))
        if role and share < 1:
            full, rest = bar(share, _BAR)
            line = Content.assemble(
                f"Loading the {role}  ",
                (full, "$primary"),
                (rest, "$foreground-disabled"),
                f" {share:4.0%}",
            )
        else:
            # Creating a context and matching the vocabularies, after the files are read, report no progress.
            line = Content(f"Preparing the {role}" if role else "Loading the models")
        shown = f"  {name}" if name else ""
        lines = [Content.assemble(line, ("  Esc cancels", "bold"), (shown, "$foreground-muted"))]
        if self._about.memory:
            lines.append(Content.styled(self._about.memory, "$foreground-muted"))
        if self._about.warning:
            lines.append(Content.styled(self._about.warning, "bold $text-warning"))
        self.update(Content("\n").join(lines), layout=False)
