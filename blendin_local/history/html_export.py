"""Export a conversation as one self-contained HTML page: all branches, and every token with its metrics.

The data for the page's script is embedded as JSON, in short rows: metrics and probabilities as integers in
units of 1/10000, -1 for unmeasured values, tokens as indices into one table.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any

from blendin_local.engine.steps import Candidate, Candidates, Source, Step, answer_text, thinking_text
from blendin_local.engine.text_attribution import Attribution
from blendin_local.history.markdown_html import markdown_html
from blendin_local.history.reply_footer import describe_differences, describe_settings, reply_footer
from blendin_local.history.tree import Setup, StepsOf, Tree, Turn
from blendin_local.presentation.colour_scale import BAND_COLOURS, MEANINGS, MODES, band, quantity, ranges
from blendin_local.presentation.explanation import FIGURE_HELP, SPEAKERS, explain_alpha
from blendin_local.presentation.html_template import page_template
from blendin_local.safe_text import sanitize

__all__ = ["as_page"]

_COLUMNS = (
    "probability", "base confidence c_b", "guide confidence c_g", "reliability", "agreement a", "weight α",
    "divergence",
)  # fmt: skip
"""The metrics of a step, in the order of its row."""
_EXPLAINED = (
    "who spoke", "confidence", "reliability", "agreement", "alpha", "divergence", "intervention rate",
    "changed-token rate", "guide-word rate", "mean and lowest reliability", "weak passages", "tokens/s",
    "time to first token",
)  # fmt: skip
_PROBABILITY = (
    "The token's share of the distribution that it was chosen from, before temperature and penalties."
)
_VISIBLE = str.maketrans({" ": "·", "\n": "⏎", "\t": "⇥", "\r": "␍"})
_STOP = "(stop)"


@dataclass(frozen=True, slots=True)
class _Piece:
    """Text of one step. step: its index in the reply, -1 for text of no step."""

    text: str
    classes: str = ""
    step: int = -1


@dataclass(frozen=True, slots=True)
class _View:
    """A turn for the template. before, after: positions of its neighbours among its siblings."""

    place: int
    is_reply: bool
    hidden: bool
    pieces: list[_Piece]
    html: str
    thinking: str
    siblings: int
    rank: int
    before: int | None
    after: int | None
    footer: str
    figures: list[tuple[str, str]]
    error: str
    other: str


def as_page(title: str, setup: Setup, tree: Tree, steps_of: StepsOf = attrgetter("steps")) -> str:
    """Render the page as HTML. The steps of one reply at a time are in memory."""
    turns = _depth_first(tree)
    places = {turn.id: place for place, turn in enumerate(turns)}
    path = tree.path()
    current = {turn.id for turn in path}
    siblings: dict[str | None, list[str]] = {}
    for turn in turns:
        siblings.setdefault(turn.parent, []).append(turn.id)
    tokens = _Tokens()
    views, steps = [], []
    for turn in turns:
        whole = replace(turn, steps=steps_of(turn)) if turn.is_reply else turn
        views.append(_view(whole, setup, siblings[turn.parent], places, turn.id not in current))
        steps.append([_row(step, whole, tokens) for step in whole.steps])
    data = {
        "parents": [places[turn.parent] if turn.parent else -1 for turn in turns],
        "path": [places[turn.id] for turn in path],
        "figures": list(_COLUMNS),
        "speakers": [SPEAKERS[source] for source in Source],
        "steps": steps,
        "tokens": tokens.shown,
    }
    return page_template("history").render(
        title=sanitize(title) or "Conversation",
        models=sanitize(f"{setup.base} + {setup.guide}"),
        settings=sanitize(describe_settings(setup.settings)),
        system=sanitize(setup.system).strip(),
        turns=views,
        modes={mode: "who spoke" if mode == "source" else quantity(mode) for mode in MODES},
        keys={mode: list(zip(ranges(mode), MEANINGS[mode], strict=True)) for mode in MEANINGS},
        colours=BAND_COLOURS,
        speakers={str(source): SPEAKERS[source] for source in Source if source is not Source.STOP},
        help={"probability": _PROBABILITY} | {name: FIGURE_HELP[name] for name in _EXPLAINED},
        data=data,
    )


def _depth_first(tree: Tree) -> list[Turn]:
    """Return all turns of the tree, each after its parent."""
    children: dict[str | None, list[Turn]] = {}
    for turn in tree.turns.values():
        children.setdefault(turn.parent, []).append(turn)
    found: list[Turn] = []
    waiting = children.get(None, [])[::-1]
    while waiting:
        found.append(turn := waiting.pop())
        waiting += children.get(turn.id, [])[::-1]
    return found


# Turns


def _view(turn: Turn, setup: Setup, siblings: list[str], places: dict[str, int], hidden: bool) -> _View:
    rank = siblings.index(turn.id)
    return _View(
        place=places[turn.id],
        is_reply=turn.is_reply,
        hidden=hidden,
        pieces=list(_pieces(turn)),
        html=markdown_html(turn.text.strip() if turn.is_reply else turn.text),
        thinking=sanitize(thinking_text(turn.steps)),
        siblings=len(siblings),
        rank=rank + 1,
        before=places[siblings[rank - 1]] if rank else None,
        after=places[siblings[rank + 1]] if rank + 1 < len(siblings) else None,
        footer=reply_footer(turn) if turn.is_reply else "",
        figures=list(_figures(turn)) if turn.is_reply else [],
        error=sanitize(turn.error),
        other=sanitize(describe_differences(turn.setup, setup)) if turn.setup else "",
    )


def _pieces(turn: Turn) -> Iterator[_Piece]:
    released = answer_text(turn.steps)
    if not turn.steps or not turn.text.startswith(released):
        yield _Piece(sanitize(turn.text).strip("\n"))
        return
    attribution = Attribution()
    owned = [piece for step in turn.steps for piece in attribution.take(step)]
    owned += attribution.release(turn.text[len(released) :])
    places = {id(step): place for place, step in enumerate(turn.steps)}
    begun = thinking = False
    for text, step in owned:
        if thinking and not step.thinking:
            yield _Piece("\n\n")
        thinking = step.thinking
        # With a plain prompt format, a reply may begin with white space.
        shown = sanitize(text) if begun else sanitize(text).lstrip()
        begun = begun or bool(shown)
        # White space before a word is left out, so that it is not underlined.
        word = shown.lstrip() or shown
        if lead := shown.removesuffix(word):
            yield _Piece(lead)
        if word:
            yield _Piece(word, _classes(step), places[id(step)])
    if turn.steps[-1].source is Source.STOP:
        yield _Piece("■", "stop", len(turn.steps) - 1)


def _classes(step: Step) -> str:
    """CSS classes of a step: its source, for each colour mode its band, such as "a2" for α, and its part."""
    bands = ((mode, band(mode, step)) for mode in MODES)
    part = ["thinking"] if step.thinking else []
    return " ".join([step.source, *(f"{mode[0]}{place}" for mode, place in bands if place), *part])


def _figures(turn: Turn) -> Iterator[tuple[str, str]]:
    summary = turn.summary
    yield "intervention rate", f"{summary.intervention_rate:.1%}"
    yield "changed-token rate", f"{summary.changed_rate:.1%}"
    yield "guide-word rate", f"{summary.guide_word_rate:.1%}"
    reliability = "reliability" if turn.calibrated else "confidence of the writing model"
    for name, value in (
        ("mean α of interventions", summary.mean("alpha")),
        ("mean c_b", summary.mean("c_b")),
        ("mean c_g", summary.mean("c_g")),
        ("mean divergence", summary.mean("divergence")),
        (f"mean {reliability}", summary.mean("reliability")),
        (f"lowest {reliability}", summary.lowest_reliability),
    ):
        if value is not None:
            yield name, f"{value:.2f}"
    yield "weak steps", f"{summary.weak_share:.1%}"
    if turn.setup and turn.setup.settings.sampling.temperature:
        yield "seed", str(turn.setup.settings.seed)
    if summary.tokens_per_second:
        yield "tokens/s", f"{summary.tokens_per_second:.1f}"
        yield "time to first token", f"{summary.timings.first_token_s:.2f} s"


# Steps as rows


class _Tokens:
    """The table of tokens that rows refer to by index."""

    def __init__(self) -> None:
        self.shown: list[str] = []
        self._places: dict[bytes, int] = {}

    def place(self, data: bytes) -> int:
        if data not in self._places:
            self._places[data] = len(self.shown)
            self.shown.append(sanitize(data.decode("utf-8", "backslashreplace").translate(_VISIBLE)) or _STOP)
        return self._places[data]


def _row(step: Step, turn: Turn, tokens: _Tokens) -> list[Any]:
    """Source, token, sentences on α, the metrics of `_COLUMNS`, then candidates of base, guide and blend."""
    figures = (
        step.probability, step.c_b, step.c_g, step.reliability if turn.calibrated else None, step.agreement,
        step.alpha, step.divergence,
    )  # fmt: skip
    listed = step.candidates or Candidates()
    return [
        list(Source).index(step.source),
        tokens.place(step.data),
        "\n".join(explain_alpha(step, turn.setup.settings.blend)) if turn.setup else "",
        [_to_units(figure) for figure in figures],
        _flatten_candidates(listed.base, tokens),
        _flatten_candidates(listed.guide, tokens),
        # Without an intervention the blend is the writing model's own distribution.
        _flatten_candidates(listed.blend, tokens) if step.intervened else [],
    ]


def _flatten_candidates(candidates: tuple[Candidate, ...], tokens: _Tokens) -> list[int]:
    return [n for each in candidates for n in (tokens.place(each.data), _to_units(each.probability))]


def _to_units(value: float | None) -> int:
    return -1 if value is None else round(value * 10_000)
