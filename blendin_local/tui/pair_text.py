"""Format pairs and models as rows of lists, and describe a pair before it is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from textual.content import Content

from blendin_local.llamacpp.header import GgufHeader
from blendin_local.models import memory_estimate
from blendin_local.models.available import AvailableModel, AvailablePair
from blendin_local.models.compatibility import Overlap, cautions, check_memory, same_vocabulary
from blendin_local.presentation.formatting import line
from blendin_local.safe_text import sanitize
from blendin_local.settings import ModelOptions, format_model_options
from blendin_local.tui.rows import MUTED
from blendin_local.tui.widgets.pick_list import Row

LOADED, MISSING, WRONG = "●", "↓", "✗"


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What descriptions of pairs depend on: model options, the loaded pair, and vocabulary overlaps.

    loaded_name: the catalogue name of the loaded pair, or "". overlaps: by vocabulary hashes of base and
    guide; a sentence if the comparison failed. changed: whether the options differ from those of the loaded
    pair.
    """

    options: ModelOptions
    loaded: AvailablePair | None
    loaded_name: str
    overlaps: dict[tuple[str, str], Overlap | str]
    changed: bool = False

    @property
    def loaded_headers(self) -> tuple[GgufHeader, ...]:
        return (self.loaded and self.loaded.headers) or ()

    def options_of(self, pair: AvailablePair) -> ModelOptions:
        """Return the options to open the models of a pair with."""
        return self.options.recommended(pair.base_options, pair.guide_options)

    def is_loaded(self, pair: AvailablePair) -> bool:
        """Return whether a pair is loaded; the same files under another catalogue name are another pair."""
        if self.loaded is None or not pair.headers or pair.paths != self.loaded.paths:
            return False
        return not (pair.name and self.loaded_name) or pair.name == self.loaded_name


def pair_row(pair: AvailablePair, group: str, knowledge: Knowledge) -> Row[AvailablePair]:
    """Return a row of two lines: name and state; the models with the note of the catalogue."""
    mark, state = " ", ""
    if pair.problem:
        mark, state = WRONG, "cannot be used"
    elif pair.missing:
        mark, state = MISSING, "not on this machine"
    elif pair.headers:
        files = sum(header.size_bytes for header in pair.headers)
        options = knowledge.options_of(pair)
        both = zip(pair.headers, (options.of("base"), options.of("guide")), strict=True)
        needs = sum(memory_estimate.estimate(header, own).total for header, own in both)
        state = f"{_gb(files)} on disk, takes {_gb(needs)}"
        if knowledge.is_loaded(pair):
            mark, state = LOADED, f"loaded now · {state}"
    # The title of a suggested pair consists of its model names already.
    second = ": ".join(filter(None, [f"{pair.base} + {pair.guide}" if pair.name else "", pair.note]))
    shown = Content.assemble(
        f"{mark} ", (line(pair.title), "bold"), (f"  {state}", MUTED), "\n",
        (f"  {line(second)}", MUTED),
    )  # fmt: skip
    return Row(
        "\0".join((pair.name, pair.base, pair.guide)),
        pair,
        shown,
        f"{pair.title} {pair.base} {pair.guide} {pair.note}",
        group,
    )


def model_row(model: AvailableModel) -> Row[AvailableModel]:
    """Return a row of one line: quantization, size, name."""
    header = model.header
    about = f"{header.quantization:<8.8}{_gb(header.size_bytes):>8}" if header else f"{'?':<16}"
    shown = Content.assemble(f"{WRONG if model.problem else ' '} ", (about, MUTED), f"  {line(model.name)}")
    searched = f"{model.name} {model.place} {header.quantization if header else ''}"
    return Row(model.given, model, shown, searched)


def files(pair: AvailablePair) -> Content:
    """Return a line for each file of a pair that is on this machine."""
    lines = []
    for role, header in zip(("base", "guide"), pair.headers or (), strict=False):
        about = f"{header.n_params / 1e6:,.0f} M parameters · {header.quantization} · "
        about += f"{_gb(header.size_bytes)} · {header.path}"
        lines.append(
            Content.assemble(f"{role:<7}", (line(header.label), "bold"), (f"  {line(about)}", MUTED))
        )
    return Content("\n").join(lines)


def judgement(pair: AvailablePair, knowledge: Knowledge) -> Content:
    """Describe a pair: missing files, vocabulary overlap, memory need, warnings."""
    return Content("\n").join(_judgement(pair, knowledge))


def _judgement(pair: AvailablePair, knowledge: Knowledge) -> Iterator[Content]:
    for entry in pair.missing:
        about = " · ".join(filter(None, [_gb(entry.size) if entry.size else "", entry.licence, entry.note]))
        yield Content.assemble((line(entry.name), "bold"), (f"  {line(about)}", MUTED))
    if pair.headers is None:
        return
    yield Content(sanitize(_vocabulary(*pair.headers, knowledge)))
    options = knowledge.options_of(pair)
    if knowledge.changed or not knowledge.is_loaded(pair):
        there = check_memory(pair.headers, options, knowledge.loaded_headers)
        yield Content(there.needs)
        yield Content.styled(there.verdict, "" if there.fits else "bold $text-warning")
    for role, own in (("base", options.base_options), ("guide", options.guide_options)):
        if own:
            yield Content.assemble((f"{role:<7}", "bold"), (line(format_model_options(own)), MUTED))
    for caution in cautions(*pair.headers):
        yield Content.styled(caution, "$text-warning")


def _vocabulary(base: GgufHeader, guide: GgufHeader, knowledge: Knowledge) -> str:
    if same_vocabulary(base, guide):
        return "Both have the same vocabulary: every token of the guide is one of the base's."
    match knowledge.overlaps.get((base.fingerprint, guide.fingerprint)):
        case Overlap() as overlap:
            return f"The vocabularies differ: {overlap.share:.0%} of the guide's tokens are the base's too."
        case str(reason):
            return reason
    return "The vocabularies differ: counting the tokens that they share …"


def _gb(size: int) -> str:
    return f"{size / 1e9:.2f} GB"
