"""The parts of the chat that know no Textual: inert text, wrapping, attribution, the worker, seeds."""

from __future__ import annotations

import codecs
import threading
from itertools import accumulate, pairwise
from pathlib import Path

import pytest
from awkward import AWKWARD
from chat_fakes import FakeChat, FakeLoad, FakeReply, step, steps_of
from hypothesis import example, given
from hypothesis import strategies as st
from rich.cells import cell_len
from tiny_gguf import write_tiny

from blendin_local.attribution import Attribution
from blendin_local.blending import METHODS
from blendin_local.conversation import Conversation
from blendin_local.errors import ModelError, PromptError
from blendin_local.inert import inert
from blendin_local.llamacpp.model import open_model
from blendin_local.pair import Pair, pair_models
from blendin_local.prompts import PLAIN_FORMATS, Message
from blendin_local.settings import BlendSettings, GenerationSettings, ModelOptions
from blendin_local.steps import Source
from blendin_local.text import TextStream
from blendin_local.tui.about import About
from blendin_local.tui.bars import bar, course
from blendin_local.tui.chat import Chat, PairChat, Progress
from blendin_local.tui.tagged_text import TaggedText, wrap
from blendin_local.tui.worker import Event, Loaded, LoadFailed, ModelWorker, ReplyBegun, ReplyEnded

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
    assert inert(text) == shown


@given(st.text())
def test_inert_text_is_stable_and_safe(text: str) -> None:
    shown = inert(text)
    assert inert(shown) == shown
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
    st.text().map(lambda text: inert(text).replace("\u200d", "").replace("\ufe0f", "")),
    st.sampled_from(AWKWARD).map(inert),
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
    assert course([0, 0.5, None, 1, -1, 2]) == "▁▅ █▁█"


@pytest.mark.parametrize("method", METHODS)
def test_every_method_can_be_described(method: str) -> None:
    about = About("b", "g", blend=BlendSettings(method=method))
    assert about.method.startswith(method)
    assert all(about.roles)
    uses_gamma = METHODS[method].trigger == "uncertain"
    assert ("γ 0.40" in about.method) == uses_gamma


# The models' thread


def taken(worker: ModelWorker, until: type[Event]) -> list[Event]:  # type: ignore[valid-type]
    """Events up to the first of a kind."""
    events: list[Event] = []
    waiting = threading.Event()
    for _ in range(4000):
        while worker.events:
            events.append(worker.events.popleft())
            if isinstance(events[-1], until):
                return events
        waiting.wait(0.005)
    raise AssertionError(f"no {until} in {events}")


def started(chat: FakeChat) -> ModelWorker:
    worker = ModelWorker(FakeLoad(chat))
    worker.start()
    taken(worker, Loaded)
    return worker


def closed(worker: ModelWorker) -> None:
    worker.close()
    assert worker.join(20)


def test_the_thread_loads_replies_and_frees() -> None:
    reply = FakeReply(steps_of("one two"), tail=" tail")
    chat = FakeChat(reply)
    worker = started(chat)
    worker.send("hello")
    events = taken(worker, ReplyEnded)
    assert isinstance(events[0], ReplyBegun)
    assert "".join(each.text for each in events[1:-1]) == "one two"  # type: ignore[union-attr]
    assert events[-1] == ReplyEnded("one two tail", "stop", kept=True)
    closed(worker)
    assert chat.closed.is_set()


def test_a_stop_reaches_a_reply_that_has_not_begun() -> None:
    begin = threading.Event()

    class Slow(FakeChat):
        def send(self, text: str) -> FakeReply:
            begin.wait(20)
            return super().send(text)

    worker = started(Slow(FakeReply(steps_of("never")), FakeReply(steps_of("yes"))))
    worker.send("hello")
    worker.stop()
    begin.set()
    assert taken(worker, ReplyEnded)[-1] == ReplyEnded("", "cancelled", kept=False)
    worker.send("again")
    assert taken(worker, ReplyEnded)[-1] == ReplyEnded("yes", "stop", kept=True)
    closed(worker)


def test_errors_before_and_within_a_reply_end_it() -> None:
    chat = FakeChat(PromptError("Too long."), FakeReply(steps_of("one"), error=ModelError("It broke.")))
    worker = started(chat)
    worker.send("a")
    assert taken(worker, ReplyEnded) == [ReplyEnded(error="Too long.")]
    worker.send("b")
    assert taken(worker, ReplyEnded)[-1] == ReplyEnded("one", None, kept=True, error="It broke.")
    closed(worker)


def test_a_failed_load_is_an_event_and_ends_the_thread() -> None:
    worker = ModelWorker(FakeLoad(FakeChat(), error=ModelError("No.")))
    worker.start()
    assert taken(worker, LoadFailed) == [LoadFailed("No.")]
    assert worker.join(20)


def test_closing_while_loading_or_before_the_start() -> None:
    load = FakeLoad(FakeChat(), held=True)
    worker = ModelWorker(load)
    worker.start()
    closed(worker)
    assert load.cancelled
    assert not worker.events
    never_started = ModelWorker(load)
    closed(never_started)


# The conversation behind it


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    folder = tmp_path_factory.mktemp("tiny")
    options = ModelOptions(n_ctx=256, n_threads=1)
    base = open_model(write_tiny(folder / "base.gguf"), options)
    guide = open_model(write_tiny(folder / "guide.gguf", vocabulary="bpe"), options)
    return pair_models(base, guide)


def conversation_with(pair: Pair, seed: int = 0) -> Conversation:
    plain = PLAIN_FORMATS["user-assistant"]
    return Conversation(
        pair, plain, plain, GenerationSettings(seed=seed, max_tokens=4), [Message("system", "Be kind.")]
    )


def written(chat: Chat, reply: object) -> bool:
    for _ in reply:  # type: ignore[attr-defined]
        pass
    return chat.keep(reply)  # type: ignore[arg-type]


def test_every_reply_has_a_seed_of_its_own(tiny: Pair) -> None:
    chat = PairChat(conversation_with(tiny, seed=7), seed_given=True)
    seeds = []
    for reply in (lambda: chat.send("a"), chat.again, lambda: chat.send("b")):
        assert written(chat, reply())
        seeds.append(chat.settings.seed)
    assert seeds == [7, 8, 9]
    fresh = iter([5, 3])
    chat = PairChat(conversation_with(tiny), fresh_seed=lambda: next(fresh))
    chat.send("a")
    assert chat.settings.seed == 5
    chat.send("b")
    assert chat.settings.seed == 3


def test_messages_alternate_whatever_happens(tiny: Pair) -> None:
    conversation = conversation_with(tiny)
    chat = PairChat(conversation)

    def roles() -> list[str]:
        return [message.role[0] for message in conversation.messages]

    with pytest.raises(PromptError, match="no message"):
        chat.again()
    assert written(chat, chat.send("a"))
    assert roles() == ["s", "u", "a"]
    first = conversation.messages[-1]

    # Another reply that is stopped at once leaves the first.
    reply = chat.again()
    reply.cancel()
    assert not written(chat, reply)
    assert conversation.messages[-1] == first

    # A message whose reply is stopped at once makes way for the next one.
    reply = chat.send("b")
    reply.cancel()
    assert not written(chat, reply)
    assert roles() == ["s", "u", "a", "u"]
    assert written(chat, chat.send("c"))
    assert [message.content for message in conversation.messages if message.role == "user"] == ["a", "c"]

    with pytest.raises(PromptError, match="too long"):
        chat.send("long " * 400)
    assert roles() == ["s", "u", "a", "u", "a"]
    chat.restart()
    assert roles() == ["s"]


def test_context_fill(tiny: Pair) -> None:
    chat = PairChat(conversation_with(tiny))
    written(chat, chat.send("hello"))
    assert {role: fill.size for role, fill in chat.fills().items()} == {"base": 256, "guide": 256}
    assert chat.fills()["base"].used > 0


def test_loading_real_files_reports_progress_and_can_be_stopped(tmp_path: Path) -> None:
    from blendin_local.catalogue import PairEntry, load_catalogue
    from blendin_local.loading import locate_pair
    from blendin_local.settings import Formats
    from blendin_local.tui.loading import about_pair, pair_loader

    base, guide = write_tiny(tmp_path / "b.gguf"), write_tiny(tmp_path / "g.gguf", vocabulary="bpe")
    files = locate_pair(load_catalogue(), PairEntry(name="", base=str(base), guide=str(guide)))
    options, settings = ModelOptions(n_ctx=64), GenerationSettings()
    about = about_pair(files, options, settings)
    assert (about.base, about.guide, about.pair) == ("b", "g", "")
    assert about.memory.startswith("Needs about")
    load = pair_loader(files, options, settings, formats=Formats("raw", "raw"), system="Be kind.")
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
        pair_loader(files, options, settings, formats=Formats("chat", "auto"))
