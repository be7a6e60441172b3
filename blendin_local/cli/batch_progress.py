"""Show the progress of a job on stderr: up to three live lines in a terminal, else a line every 15 s."""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType

from rich.cells import cell_len
from rich.live import Live
from rich.text import Text

from blendin_local.batch.job_stats import JobStats
from blendin_local.presentation.formatting import duration, line
from blendin_local.presentation.progress_display import Display

__all__ = ["BatchProgress"]

_UPDATES_PER_S = 4
_WIDEST_BAR, _LEAST_BAR = 40, 6
_ECHO = 2
"""Cells left free for the ^C that a terminal echoes: a wrapped line would not be erased completely."""


class BatchProgress(Display):
    """Shows the loading of the models, then the figures of the job; a context manager.

    total: rows of the input, if known. quiet, in_lines: as for `Display`.
    """

    def __init__(self, *, quiet: bool = False, total: int | None = None, in_lines: bool = False) -> None:
        super().__init__(quiet=quiet, in_lines=in_lines)
        self._total = total
        self._stats: JobStats | None = None
        self._active = 0
        self._printed = ""
        self._live: Live | None = None
        if self.in_place:
            self._live = Live(
                console=self.console,
                get_renderable=self._display,
                refresh_per_second=_UPDATES_PER_S,
                transient=True,
                redirect_stdout=False,
            )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        if self._live:
            self._live.stop()
        elif self._stats:
            self._print_line(self._stats, 0)

    def update(self, stats: JobStats, active: int = 0) -> None:
        """Show the figures of the job; may be called at every step. active: rows in progress."""
        first, self._stats, self._active = self._stats is None, stats, active
        if first and self._live:
            self.hide_bar()
            self._live.start()
        if self._live or self.quiet:
            return
        if first or self.is_due:
            self._print_line(stats, active)

    # Lines

    def _print_line(self, stats: JobStats, active: int) -> None:
        done, left = self._row_count(stats)
        line = ", ".join([done, *left, *(text for text, _ in self._figures(stats, active))])
        if line != self._printed and not self.quiet:
            self._printed = line
            self.tell(line)

    # Lines in place

    def _display(self) -> Text:
        """Render the lines. Rich calls it from its own thread, so it only reads immutable values."""
        stats, width = self._stats, self.console.width - _ECHO
        if stats is None:
            return Text("")
        lines = [self._bar_line(stats, width), self._figure_line(stats, width)]
        if stats.last:
            lines.append(_last_row_line(stats, width))
        return Text("\n", no_wrap=True, overflow="ellipsis").join(lines)

    def _bar_line(self, stats: JobStats, width: int) -> Text:
        text = "  ".join(_take_fitting(self._count_texts(stats), width, "  "))
        room = min(width - cell_len(text) - 2, _WIDEST_BAR)
        if not self._total or room < _LEAST_BAR:
            return Text(text)
        full = min(room, room * stats.rows // self._total)
        return Text.assemble(("━" * full, "cyan"), ("━" * (room - full), "bright_black"), "  ", text)

    def _count_texts(self, stats: JobStats) -> list[str]:
        done, left = self._row_count(stats)
        return [done, *left] if left else [done, f"{duration(stats.seconds)} so far"]

    def _row_count(self, stats: JobStats) -> tuple[str, list[str]]:
        """Return the number of finished rows as text and, if it is known, the remaining time."""
        if self._total is None:
            return f"{stats.rows:,} {'row' if stats.rows == 1 else 'rows'}", []
        share = min(stats.rows / self._total, 1.0) if self._total else 1.0
        eta = stats.eta_s(self._total)
        left = [] if eta is None or stats.rows >= self._total else [f"{duration(eta)} left"]
        # Rounded down, so that 100% means finished.
        return f"{stats.rows:,} of {self._total:,} rows ({int(share * 100)}%)", left

    def _figures(self, stats: JobStats, active: int) -> Iterable[tuple[str, str]]:
        """Yield (text, style) of each figure, the most important first."""
        if pace := stats.pace:
            yield f"{pace.tokens_per_s:.1f} tokens/s", ""
        if stats.failed:
            yield f"{stats.failed:,} failed", "bold red"
        if (rate := stats.intervention_rate) is not None:
            yield f"intervention rate {rate:.0%}", ""
        if active:
            yield f"{active} in progress", ""
        if stats.kept:
            yield f"{stats.kept:,} kept from before", ""

    def _figure_line(self, stats: JobStats, width: int) -> Text:
        figures = dict(self._figures(stats, self._active))
        kept = _take_fitting(figures, width, " · ")
        return Text(" · ").join(Text(text, figures[text]) for text in kept)


def _take_fitting(texts: Iterable[str], width: int, between: str) -> list[str]:
    """Return the texts that fit into a line of `width` cells, always including the first."""
    kept: list[str] = []
    for text in texts:
        if not kept or cell_len(between.join([*kept, text])) <= width:
            kept.append(text)
    return kept


def _last_row_line(stats: JobStats, width: int) -> Text:
    """Return one line about the row that finished last."""
    last = stats.last
    assert last is not None
    text = last.text if last.error is None else last.error
    name = Text(line(last.id))
    name.truncate(max(width // 3, 8), overflow="ellipsis")
    shown = Text.assemble(name, "  ", (line(text), "dim" if last.error is None else "red"))
    shown.truncate(width, overflow="ellipsis")
    return shown
