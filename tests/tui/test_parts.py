"""The parts of the chat that know no Textual: sanitize text, wrapping, attribution, what a pair is asked."""

from __future__ import annotations

import codecs
from dataclasses import replace
from itertools import accumulate, pairwise
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.cells import cell_len
from support.awkward import AWKWARD
from support.chat_fakes import step
from support.tiny_gguf import write_tiny

from blendin_local.engine.conversation import Conversation
from blendin_local.engine.pair import Pair, pair_models
from blendin_local.engine.prompts import PLAIN_FORMATS, Message
from blendin_local.engine.steps import Source, Step
from blendin_local.engine.text_attribution import Attribution
from blendin_local.engine.text_stream import TextStream
from blendin_local.errors import ModelError, PromptError
from blendin_local.history.tree import Setup
from blendin_local.llamacpp.model import open_model
from blendin_local.methods import METHODS
from blendin_local.models.catalogue import load_catalogue
from blendin_local.models.entries import PairEntry
from blendin_local.models.loading import locate_pair
from blendin_local.safe_text import sanitize
from blendin_local.settings import BlendSettings, Formats, GenerationSettings, ModelOptions
from blendin_local.tui.about import About
from blendin_local.tui.bars import bar, sparkline
from blendin_local.tui.chat import Ask, PairChat, Progress
from blendin_local.tui.loading import about_pair, pair_loader
from blendin_local.tui.tagged_text import TaggedText, wrap

# Inert text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain [b]text[/b]", "plain [b]text[/b]"),
        ("\x1b[31mred", "␛[31mred"),
        ("a\x00\x07\x7f", "a␀␇␡"),
        ("\x9b31m", "�31m"),
        ("one\r\ntwo\rthree", "one\ntwothree"),
        ("\tx", "    x"),
        ("a\u2028b\u2029c", "a\nb\nc"),
        ("\u202eabc\u202c", "�abc�"),
        ("\u200fשלום", "שלום"),
        ("hid\U000e0041den", "hid�den"),
        ("\ud800", "�"),
        ("\N{WOMAN}\u200d\N{PERSONAL COMPUTER}", "\N{WOMAN}\u200d\N{PERSONAL COMPUTER}"),
        ("e\u0301 \u2764\ufe0f", "e\u0301 \u2764\ufe0f"),
    ],
)
def test_inert_text(text: str, shown: str) -> None:
    assert sanitize(text) == shown


@given(st.text())
def test_inert_text_is_stable_and_safe(text: str) -> None:
    shown = sanitize(text)
    assert sanitize(shown) == shown
    assert all(character == "\n" or not _acts(character) for character in shown)
    shown.encode("utf-8")


def _acts(character: str) -> bool:
    code = ord(character)
    return code < 0x20 or 0x7F <= code < 0xA0 or 0x202A <= code <= 0x202E or 0x2066 <= code <= 0x2069


# Wrapping

WIDTHS = st.integers(2, 40)
TEXTS = st.one_of(
    st.text(st.sampled_from("ab \n東\N{BAT}\u0301")),
    # A joiner takes the width from whatever follows it, here and in Textual, so it must have sense.
    st.text().map(lambda text: sanitize(text).replace("\u200d", "").replace("\ufe0f", "")),
    st.sampled_from(AWKWARD).map(sanitize),
)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", [""]),
        ("one two three", ["one two", "three"]),
        ("one two  three", ["one two", "three"]),
        ("sevenxx", ["sevenxx"]),
        ("eightxxx", ["eightxx", "x"]),
        ("a eightxxx b", ["a", "eightxx", "x b"]),
        ("  indented", ["indente", "d"]),
        ("  ab\n\n cd", ["  ab", "", " cd"]),
        ("trailing\n", ["trailin", "g", ""]),
        ("東京は日本", ["東京は", "日本"]),
        ("ab 東京は", ["ab 東京", "は"]),
    ],
)
def test_wrap(text: str, lines: list[str]) -> None:
    assert [text[start:end] for start, end in wrap(text, 0, 7)] == lines


@given(TEXTS, WIDTHS)
@example("a" * 100, 7)
@example("\N{BAT}" * 50, 3)
def test_lines_fit_and_lose_nothing_but_spaces(text: str, width: int) -> None:
    lines = wrap(text, 0, width)
    assert all(cell_len(text[start:end]) <= width for start, end in lines)
    joined = "".join(text[start:end] for start, end in lines)
    assert "".join(joined.split()) == "".join(text.split())
    places = [place for line in lines for place in line]
    assert places == sorted(places)


@given(st.lists(TEXTS, max_size=8), WIDTHS)
def test_text_that_grows_is_wrapped_as_if_it_came_at_once(pieces: list[str], width: int) -> None:
    grown = TaggedText()
    grown.layout(width)
    for place, piece in enumerate(pieces):
        grown.append(piece, str(place % 3))
    assert grown.lines == wrap("".join(pieces), 0, width)


@given(st.lists(st.tuples(TEXTS, st.sampled_from("xyz")), max_size=8), WIDTHS)
def test_runs_are_the_line_in_pieces(pieces: list[tuple[str, str]], width: int) -> None:
    body = TaggedText()
    for piece, tag in pieces:
        body.append(piece, tag)
    body.layout(width)
    for start, end in body.lines:
        runs = list(body.runs(start, end))
        assert "".join(text for text, _ in runs) == body.text[start:end]
        # Pieces that are drawn one by one take no more cells than the line they were cut from.
        assert sum(cell_len(text) for text, _ in runs) <= width


def test_runs_have_their_own_tags() -> None:
    body = TaggedText()
    for piece, tag in (("ab", "x"), ("c", "x"), ("d", "y"), ("", "z"), ("ef", "x")):
        body.append(piece, tag)
    body.layout(80)
    assert list(body.runs(0, 6)) == [("abc", "x"), ("d", "y"), ("ef", "x")]
    assert list(body.runs(1, 4)) == [("bc", "x"), ("d", "y")]


# Attribution


@given(
    st.text(st.one_of(st.sampled_from("ab東\N{BAT}"), st.characters(codec="utf-8"))),
    st.lists(st.integers(1, 5), max_size=12),
    st.lists(st.text(st.sampled_from("ab"), min_size=1, max_size=3)),
)
def test_every_character_belongs_to_the_step_that_completed_it(
    text: str, sizes: list[int], stops: list[str]
) -> None:
    data = text.encode()
    ends = [*accumulate(sizes), len(data)]
    parts = [data[start:end] for start, end in pairwise([0, *ends])]
    stream, attribution = TextStream(stops), Attribution()
    sources = [Source.BASE, Source.GUIDE, Source.BLEND]
    pieces = []
    for i, part in enumerate(parts):
        pieces += attribution.take(step(i, stream.feed(part), sources[i % 3], data=part))
    pieces += attribution.release(stream.flush())
    assert "".join(text for text, _ in pieces) == stream.text

    decoder = codecs.getincrementaldecoder("utf-8")()
    owners = [sources[i % 3] for i, part in enumerate(parts) for _ in decoder.decode(part)]
    shown_as = [owner.source for text, owner in pieces for _ in text]
    assert shown_as == owners[: len(shown_as)]


def test_text_that_was_held_back_keeps_its_source() -> None:
    attribution = Attribution()
    first = step(0, "Yes", Source.BASE, data=b"Yes\nQue")
    second = step(1, "\nQuest", Source.GUIDE, data=b"st")
    assert attribution.take(first) == [("Yes", first)]
    later = attribution.take(second)
    assert later == [("\nQue", first), ("st", second)]


# Bars


def test_bars() -> None:
    assert bar(0, 4) == ("", "────")
    assert bar(0.001, 4) == ("╸", "───")
    assert bar(0.5, 4) == ("━━", "──")
    assert bar(1.7, 4) == ("━━━━", "")
    assert sparkline([0, 0.5, None, 1, -1, 2]) == "▁▅ █▁█"


@pytest.mark.parametrize("method", METHODS)
def test_every_method_can_be_described(method: str) -> None:
    about = About("b", "g", blend=BlendSettings(method=method))
    assert about.method.startswith(method)
    assert all(about.roles)
    uses_gamma = METHODS[method].trigger == "uncertain"
    assert ("γ 0.40" in about.method) == uses_gamma


# The conversation behind it


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    folder = tmp_path_factory.mktemp("tiny")
    options = ModelOptions(n_ctx=256, n_threads=1)
    base = open_model(write_tiny(folder / "base.gguf"), options)
    guide = open_model(write_tiny(folder / "guide.gguf", vocabulary="bpe"), options)
    return pair_models(base, guide)


def test_a_pair_answers_what_it_is_asked(tiny: Pair) -> None:
    plain = PLAIN_FORMATS["user-assistant"]
    chat = PairChat(Conversation(tiny, plain, plain), {"base": "b", "guide": "g"})
    assert (chat.calibrated, chat.models) == (False, {"base": "b", "guide": "g"})
    said = (Message("system", "Be kind."), Message("user", "hello"))
    settings = GenerationSettings(BlendSettings(guide_stop=False), seed=7, max_tokens=6)

    def written(ask: Ask) -> list[Step]:
        reply = chat.write(ask)
        steps = list(reply)
        assert reply.text == "".join(step.text for step in (*ask.prefix, *steps))
        return steps

    whole = written(Ask(said, settings))
    repeated = written(Ask(said, settings, candidates=8))
    assert [each.outcome for each in repeated] == [each.outcome for each in whole]
    assert whole[0].candidates is not None
    assert written(Ask(said, settings, candidates=0))[0].candidates is None
    # From its own steps on, and with another token in the place of one.
    rest = written(Ask(said, replace(settings, max_tokens=3), prefix=tuple(whole[:3])))
    assert [step.index for step in rest] == [3, 4, 5]
    other = next(each for each in whole[2].candidates.base if each.outcome not in (-1, whole[2].outcome))  # type: ignore[union-attr]
    forced_outcome = written(Ask(said, settings, prefix=tuple(whole[:2]), forced_outcome=other.outcome))
    assert (forced_outcome[0].outcome, forced_outcome[0].source) == (other.outcome, Source.USER)
    fills = chat.fills()
    assert {role: fill.size for role, fill in fills.items()} == {"base": 256, "guide": 256}
    assert fills["base"].used > 0
    with pytest.raises(PromptError, match="too long"):
        chat.write(Ask((Message("user", "long " * 400),), settings))


def test_loading_real_files_reports_progress_and_can_be_stopped(tmp_path: Path) -> None:
    base, guide = write_tiny(tmp_path / "b.gguf"), write_tiny(tmp_path / "g.gguf", vocabulary="bpe")
    files = locate_pair(load_catalogue(), PairEntry(name="", base=str(base), guide=str(guide)))
    options, settings = ModelOptions(n_ctx=64), GenerationSettings()
    setup = Setup(str(base), str(guide), settings=settings, formats=Formats("raw", "raw"))
    about = about_pair(files, options, setup)
    assert (about.base, about.guide, about.pair) == ("b", "g", "")
    assert about.memory.startswith("Needs about")
    load = pair_loader(files, options, setup)
    seen: list[tuple[str, float]] = []

    def progress(role: str, share: float) -> bool:
        seen.append((role, share))
        return True

    load(progress).close()
    assert {role for role, _ in seen} == {"base", "guide"}
    refuse: Progress = lambda role, share: role == "base"  # noqa: E731
    with pytest.raises(ModelError, match="cancelled"):
        load(refuse)
    with pytest.raises(PromptError, match="no chat template"):
        pair_loader(files, options, replace(setup, formats=Formats("chat", "auto")))
