"""Table of a step's candidates: the most probable outcomes of base, guide and mixture."""

from __future__ import annotations

from dataclasses import dataclass

from textual import events
from textual.content import Content
from textual.geometry import Size
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget

from blendin_local.engine.steps import Candidate, Candidates, Source, Step
from blendin_local.presentation.explanation import is_guide_stop
from blendin_local.tui.bars import bar, sparkline
from blendin_local.tui.rows import MUTED, fit, shorten
from blendin_local.tui.token_text import spoken, visible

_GUTTER = 2
_WIDEST = 32
_ROOMY = 16
"""Width of a column from which it has a bar and three decimals."""
_DIGITS = 9


@dataclass(frozen=True, slots=True)
class Column:
    """Candidates of one distribution by probability, with the chosen one. rest: probability of all others."""

    name: str
    candidates: tuple[Candidate, ...]
    rest: float


def columns_of(step: Step) -> list[Column]:
    """Return the columns of a step, without a mixture that equals the distribution of the writer."""
    kept = step.candidates or Candidates()
    lists = {"base": kept.base, "guide": kept.guide}
    if step.intervened or not (kept.base or kept.guide):
        lists["blend"] = kept.blend
    lists = {name: candidates for name, candidates in lists.items() if candidates}
    chosen_from = "guide" if is_guide_stop(step) else _writer(lists)
    return [_column(name, found, step, name == chosen_from) for name, found in lists.items()]


def _writer(names: dict[str, tuple[Candidate, ...]]) -> str:
    """Return the name of the column from which the outcome was chosen."""
    return next((name for name in ("blend", "base") if name in names), "guide")


def is_choice(candidate: Candidate, step: Step) -> bool:
    """Return whether a candidate is the step's outcome; end tokens of both models are the same stop."""
    stops = step.source is Source.STOP and not candidate.data
    return candidate.outcome >= 0 and (stops or candidate.outcome == step.outcome)


def _column(name: str, candidates: tuple[Candidate, ...], step: Step, chosen_from: bool) -> Column:
    listed = any(is_choice(candidate, step) for candidate in candidates)
    if chosen_from and step.outcome >= 0 and not listed:
        candidates += (Candidate(step.data, step.probability, step.outcome),)
    return Column(name, candidates, max(0.0, 1.0 - sum(c.probability for c in candidates)))


class CandidatesTable(Widget):
    """Draws the columns at the available width; its parent moves the cursor."""

    active: reactive[bool] = reactive(False)
    """Whether the cursor is shown, because the parent has the focus."""

    @dataclass
    class Chosen(Message):
        """A candidate was chosen for a branch."""

        candidate: Candidate

    def __init__(self) -> None:
        super().__init__()
        self.columns: list[Column] = []
        self.row = 0
        self._step: Step | None = None
        self._wanted = "blend"

    def show(self, step: Step | None) -> None:
        """Show the candidates of a step, with the cursor on the first that can be chosen."""
        if step is not self._step:
            self._step = step
            self.columns = columns_of(step) if step else []
            self._to_first()
        self.refresh(layout=True)

    # Cursor and choice

    @property
    def column(self) -> Column | None:
        """The highlighted column: the one last moved to, else the first."""
        found = {column.name: column for column in self.columns}
        return found.get(self._wanted) or next(iter(self.columns), None)

    def move_row(self, by: int) -> None:
        if self.column:
            self.row = min(max(self.row + by, 0), len(self.column.candidates) - 1)
            self.refresh()

    def move_column(self, by: int) -> None:
        if self.column:
            place = self.columns.index(self.column) + by
            self._highlight(min(max(place, 0), len(self.columns) - 1))

    def choose(self, row: int | None = None) -> None:
        """Choose the candidate in a row of the highlighted column, or the one under the cursor."""
        if not self.column:
            return
        row = self.row if row is None else row
        if row >= len(self.column.candidates):
            return
        self.row = row
        self.refresh()
        candidate = self.column.candidates[row]
        if self._offers(candidate):
            self.post_message(self.Chosen(candidate))

    def on_click(self, event: events.Click) -> None:
        offset = event.get_content_offset(self)
        if offset is None or not self.columns:
            return
        if offset.x >= _GUTTER:
            place = (offset.x - _GUTTER) // self._cell_width
            if place >= len(self.columns):
                return
            self._highlight(place)
        if offset.y > 0:
            self.choose(offset.y - 1)

    def _highlight(self, place: int) -> None:
        if self.columns[place] is not self.column:
            self._wanted = self.columns[place].name
            self._to_first()
            self.refresh()

    def _to_first(self) -> None:
        candidates = self.column.candidates if self.column else ()
        self.row = next((row for row, each in enumerate(candidates) if self._offers(each)), 0)

    def _is_chosen(self, candidate: Candidate) -> bool:
        return self._step is not None and is_choice(candidate, self._step)

    def _offers(self, candidate: Candidate) -> bool:
        return candidate.outcome >= 0 and not self._is_chosen(candidate)

    # Drawing

    @property
    def _rows(self) -> int:
        return max((len(column.candidates) for column in self.columns), default=0)

    @property
    def _cell_width(self) -> int:
        return max(1, min((self.content_size.width - _GUTTER) // len(self.columns), _WIDEST))

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        # Titles, candidates, the rest, and the hint.
        return self._rows + 3 if self.columns else 2 * bool(self._step)

    def render(self) -> Content:
        highlighted = self.column
        if highlighted is None:
            kept = "The candidates of this step were not kept: no branch can leave it."
            return Content.styled(kept if self._step else "", MUTED)
        lines = [self._titles(highlighted)]
        lines += [self._line(row, highlighted) for row in range(self._rows)]
        others = "others" if self._cell_width >= _ROOMY else "rest"
        rests = (self._cell(others, column.rest, MUTED) for column in self.columns)
        lines.append(Content.assemble(" " * _GUTTER, *rests))
        lines.append(self._hint(highlighted.candidates[self.row]))
        return Content("\n").join(lines)

    def _titles(self, highlighted: Column) -> Content:
        titles = [Content(" " * _GUTTER)]
        for column in self.columns:
            padding = " " * (self._cell_width - 1 - len(column.name))
            style = "bold underline" if column is highlighted else MUTED
            titles.append(Content.assemble(" ", (column.name, style), padding))
        return Content.assemble(*titles)

    def _line(self, row: int, highlighted: Column) -> Content:
        offered = row < len(highlighted.candidates) and self._offers(highlighted.candidates[row])
        digit = str(row + 1) if offered and row < _DIGITS else ""
        cells = [Content.styled(digit.ljust(_GUTTER), MUTED)]
        for column in self.columns:
            if row >= len(column.candidates):
                cells.append(Content(" " * self._cell_width))
                continue
            candidate = column.candidates[row]
            chosen = self._is_chosen(candidate)
            style = "bold" if chosen else ""
            if self.active and column is highlighted and row == self.row:
                style += " reverse"
            name, colour = self._shown(candidate), f"$source-{column.name}"
            cells.append(self._cell(name, candidate.probability, colour, chosen=chosen, style=style))
        return Content.assemble(*cells)

    def _shown(self, candidate: Candidate) -> str:
        if self._step is not None and is_choice(candidate, self._step) and not candidate.data:
            return spoken(self._step)
        return visible(candidate.data)

    def _cell(
        self, name: str, probability: float, colour: str, *, chosen: bool = False, style: str = ""
    ) -> Content:
        """Return mark, token, bar and probability in the width of a column; the mark separates columns."""
        width = self._cell_width
        if width < _ROOMY:
            number = "1.0" if probability >= 0.995 else f"{probability:.2f}"[1:]
            token = f"{'✓' if chosen else ' '}{fit(name, width - 6)} "
            return Content.assemble((token + number, style), (sparkline([probability]), colour))
        number = f" {probability:.3f}"
        size = width // 4
        full, rest = bar(probability, size)
        token = f"{'✓' if chosen else ' '}{fit(name, width - size - len(number) - 2)} "
        drawn = ((full, colour), (rest, "$foreground-disabled"))
        return Content.assemble((token, style), *drawn, (number, style))

    def _hint(self, candidate: Candidate) -> Content:
        name = self._shown(candidate)
        if self._is_chosen(candidate):
            before, after = "", " is what was chosen"
        elif candidate.outcome < 0:
            before, after = "", " cannot be chosen here"
        else:
            before, after = "Enter: branch to ", ""
        room = self.content_size.width - len(before) - len(after)
        return Content.assemble((before, MUTED), shorten(name, room), (after, MUTED))
