"""Print a reply as coloured text or as one line per step, and its summary line."""

from __future__ import annotations

import os
import sys

import click
from rich.cells import cell_len, set_cell_size

from blendin_local.api.reply import Reply
from blendin_local.cli.terminal import is_terminal
from blendin_local.engine.steps import Source, Step, Summary
from blendin_local.safe_text import sanitize

COLOURS = {Source.BASE: None, Source.GUIDE: "cyan", Source.BOTH: "green", Source.BLEND: "magenta"}
_BAR = 8


class ReplyPrinter:
    """Prints the steps of one reply to stdout while they are decoded."""

    def __init__(self, view: str, color: str, *, quiet: bool = False) -> None:
        """quiet: leave out the thinking, which goes to stderr otherwise."""
        self._quiet = quiet
        self._thinks = False
        self._tokens = view == "tokens"
        terminal = is_terminal(sys.stdout)
        self._colour = color == "always" or (color == "auto" and terminal and not os.environ.get("NO_COLOR"))
        # Pipes get the raw text; a terminal would interpret escape sequences of the model.
        self._sanitize = terminal
        if self._tokens:
            click.echo(f"{'step':>4}  {'token':24} {'source':6} {'base':14} {'guide':14} {'alpha':>5}")

    def show(self, step: Step) -> None:
        if self._tokens:
            click.echo(self._step_line(step), color=self._colour)
        elif step.thinking:
            self._show_thinking(step.text)
        else:
            self._end_thinking()
            click.echo(self._style(step.text, step), nl=False, color=self._colour)

    def _show_thinking(self, text: str) -> None:
        if not self._quiet and (text := sanitize(text)):
            self._thinks = True
            click.secho(text, nl=False, err=True, dim=True)

    def _end_thinking(self) -> None:
        if self._thinks:
            self._thinks = False
            click.echo("\n", err=True)

    def end(self, text: str) -> None:
        """Finish the output after the last step. text: the whole reply."""
        self._end_thinking()
        if self._tokens:
            click.echo()
            click.echo(sanitize(text) if self._sanitize else text)
        elif is_terminal(sys.stdout) or not text.endswith("\n"):
            click.echo()

    def _style(self, text: str, step: Step) -> str:
        shown = sanitize(text) if self._sanitize else text
        return click.style(shown, fg=COLOURS.get(step.source)) if self._colour and shown else shown

    def _step_line(self, step: Step) -> str:
        shown = "(stop)" if step.source is Source.STOP else repr(step.data.decode("utf-8", "replace"))
        shown = _fit_cells((shown[1:-1] if shown[0] in "'\"" else shown).replace(" ", "·"), 24)
        alpha = f"{step.alpha:5.2f}" if step.intervened else "     "
        line = f"{step.index + 1:4}  {shown} {step.source:6} {_bar(step.c_b)} {_bar(step.c_g)} {alpha}"
        return click.style(line, fg=COLOURS.get(step.source)) if self._colour else line


def _reliability(summary: Summary, name: str) -> list[str]:
    mean = summary.mean("reliability")
    return [] if mean is None else [f"{name} {mean:.2f}, lowest {summary.lowest_reliability:.2f}"]


def _bar(confidence: float | None) -> str:
    if confidence is None:
        return " " * (_BAR + 6)
    full = round(confidence * _BAR)
    return f"{'█' * full}{'░' * (_BAR - full)} {confidence:.2f} "


def _fit_cells(text: str, width: int) -> str:
    """Return the text truncated or padded to `width` terminal cells."""
    return set_cell_size(text if cell_len(text) <= width else set_cell_size(text, width - 1) + "…", width)


def summary_line(reply: Reply, calibrated: bool) -> str:
    """Return one line: token count, speed, intervention rates, reliability, finish reason."""
    summary = reply.summary
    parts = [
        f"{summary.tokens} tokens",
        f"{summary.tokens_per_second:.1f} tokens/s",
        f"first after {summary.timings.first_token_s:.2f} s",
        f"intervention rate {summary.intervention_rate:.0%}",
        f"changed {summary.changed_rate:.0%}",
        f"guide words {summary.guide_word_rate:.0%}",
    ]
    name = "reliability" if calibrated else "confidence (not calibrated)"
    parts += _reliability(summary, name)
    if summary.thinking is not None and summary.answer is not None:
        for part, figures in (("thinking", summary.thinking), ("answer", summary.answer)):
            parts.append(" ".join([f"{part} {figures.tokens} tokens", *_reliability(figures, name)]))
    if reply.dropped_messages:
        parts.append(f"{reply.dropped_messages} old messages dropped")
    parts.append(f"ended by {reply.finish_reason}")
    return " · ".join(parts)
