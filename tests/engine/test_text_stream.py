"""Bytes into released text: the same in any split, and never a stop string."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise, product

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.awkward import AWKWARD

from blendin_local.engine.text_stream import TextStream

BROKEN = (
    b"\x80",
    b"\xbf\xbf lone continuation bytes \x80",
    b"cut \xe2\x82",
    b"cut \xf0\x9f\x98",
    b"cut and on \xf0\x9f\x98 on \xe2",
    b"overlong \xc0\xaf \xe0\x80\xaf \xf0\x80\x80\xaf",
    b"surrogate \xed\xa0\x80\xed\xb0\x80 \xed\xa0",
    b"beyond \xf4\x90\x80\x80 \xf5 \xff\xfe",
    b"two leads \xc3\xc3\xa9\xe2\xe2\x82\xac",
)
TABLE = (*(text.encode() for text in AWKWARD), *BROKEN)
STOPS = ("a", "\n\n", "\n\nQuestion:", "<|im_end|>", "\ufffd", "é")


def fed(stream: TextStream, pieces: Iterable[bytes]) -> str:
    return "".join([*(stream.feed(piece) for piece in pieces), stream.flush()])


def split(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    """Pieces of data between the cuts, which count modulo its length; some may be empty."""
    places = sorted(cut % (len(data) + 1) for cut in cuts)
    return [data[start:end] for start, end in pairwise([0, *places, len(data)])]


def is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def half_character(data: bytes) -> int:
    """Length of the unfinished character at the end of data, found by trying to finish it."""
    for length in range(1, min(3, len(data)) + 1):
        for missing in range(1, 4):
            endings = product((0x80, 0x90, 0xA0, 0xBF), repeat=missing)
            if any(is_utf8(data[-length:] + bytes(ending)) for ending in endings):
                return length
    return 0


def at_once(data: bytes) -> str:
    return data[: len(data) - half_character(data)].decode("utf-8", "replace")


def stopped_at_once(data: bytes, stops: Sequence[str]) -> tuple[str, str | None]:
    text = at_once(data)
    found = [(text.find(stop), -len(stop), stop) for stop in stops if stop in text]
    return (text[: min(found)[0]], min(found)[2]) if found else (text, None)


cuts = st.lists(st.integers(0, 1000), max_size=30)
data_of_any_kind = (
    st.sampled_from(TABLE) | st.lists(st.sampled_from(TABLE), max_size=3).map(b"".join) | st.binary()
)


@pytest.mark.parametrize("data", TABLE, ids=repr)
def test_byte_by_byte_equals_at_once(data: bytes) -> None:
    assert fed(TextStream(), split(data, range(len(data)))) == at_once(data)
    assert fed(TextStream(), [data]) == at_once(data)


@given(data_of_any_kind, cuts)
def test_any_split_equals_at_once(data: bytes, cuts: list[int]) -> None:
    stream = TextStream()
    assert fed(stream, split(data, cuts)) == at_once(data)
    assert stream.text == at_once(data)
    assert stream.stopped is None


@pytest.mark.parametrize("text", AWKWARD, ids=ascii)
def test_valid_text_comes_back_unchanged(text: str) -> None:
    assert fed(TextStream(), split(text.encode(), range(0, 1000, 3))) == text


@given(data_of_any_kind)
def test_text_and_character_state_follow_every_byte(data: bytes) -> None:
    stream = TextStream()
    for end in range(1, len(data) + 1):
        stream.feed(data[end - 1 : end])
        assert stream.text == at_once(data[:end])
        assert stream.inside_character == (half_character(data[:end]) > 0)
    stream.flush()
    assert not stream.inside_character


def test_invalid_bytes_show_as_soon_as_known() -> None:
    stream = TextStream()
    assert stream.feed(b"a\xe2\x82") == "a"
    assert stream.inside_character
    # A letter cannot continue the character: one U+FFFD for both of its bytes.
    assert stream.feed(b"b") == "\ufffdb"
    # 0xff begins nothing; 0xed 0xa0 would be a surrogate, which is known at the second byte.
    assert stream.feed(b"\xff") == "\ufffd"
    assert stream.feed(b"\xed") == ""
    assert stream.feed(b"\xa0") == "\ufffd\ufffd"
    assert not stream.inside_character


def test_flush_drops_half_a_character() -> None:
    stream = TextStream()
    assert stream.feed("ab€".encode()[:-1]) == "ab"
    assert stream.flush() == ""
    assert stream.text == "ab"


# Stop strings.


@pytest.mark.parametrize("stop", ["\n\nQuestion:", "é€", "\U0001f1eb\U0001f1f7", "aab"])
def test_a_stop_is_found_wherever_it_is_cut(stop: str) -> None:
    data = f"so aa{stop} never shown".encode()
    for first in range(len(data) + 1):
        for second in range(first, len(data) + 1):
            stream = TextStream([stop])
            assert fed(stream, [data[:first], data[first:second], data[second:]]) == "so aa"
            assert (stream.stopped, stream.text) == (stop, "so aa")


def test_a_beginning_is_held_back_until_decided() -> None:
    stream = TextStream(["\n\nQuestion:"])
    assert stream.feed(b"one\n") == "one"
    assert stream.feed(b"\n") == ""
    assert stream.text == "one\n\n"
    # The first newline is out; the last two may begin the stop string again.
    assert stream.feed(b"\n") == "\n"
    assert stream.feed(b"Quest") == ""
    assert stream.feed(b"s") == "\n\nQuests"
    assert stream.feed(b"\n\nQ") == ""
    assert stream.flush() == "\n\nQ"
    assert stream.stopped is None


def test_after_a_stop_nothing_more_comes() -> None:
    stream = TextStream(["END"])
    assert stream.feed(b"a END b\xe2") == "a "
    assert (stream.stopped, stream.text, stream.inside_character) == ("END", "a ", False)
    assert stream.feed(b"more END") == ""
    assert stream.flush() == ""
    assert stream.text == "a "


def test_a_stop_that_is_the_whole_text() -> None:
    stream = TextStream(["stop"])
    assert stream.feed(b"stop") == ""
    assert (stream.stopped, stream.text, stream.flush()) == ("stop", "", "")


def test_a_stop_without_rivals_is_known_at_once() -> None:
    stream = TextStream(["ab", "xxxxxxxx"])
    assert stream.feed(b"1ab") == "1"
    assert stream.stopped == "ab"


def test_the_stop_that_starts_first_wins() -> None:
    # "bcd" is complete first, but "abcde" may have started before it.
    stream = TextStream(["bcd", "abcde"])
    assert stream.feed(b"xabcd") == "x"
    assert stream.stopped is None
    assert stream.feed(b"e") == ""
    assert (stream.stopped, stream.text) == ("abcde", "x")

    stream = TextStream(["bcd", "abcde"])
    assert stream.feed(b"xabcd") == "x"
    assert stream.feed(b"f") == "a"
    assert (stream.stopped, stream.text) == ("bcd", "xa")


def test_of_two_at_the_same_place_the_longer_wins() -> None:
    for pieces in ([b"x\n\nQ:"], [b"x\n\n", b"Q:"], [b"x\n", b"\nQ", b":"]):
        stream = TextStream(["\n\n", "\n\nQ:"])
        assert fed(stream, pieces) == "x"
        assert stream.stopped == "\n\nQ:"
    # The shorter one waits for the longer: until other text comes, or the end.
    stream = TextStream(["\n\n", "\n\nQ:"])
    stream.feed(b"x\n\n")
    assert stream.stopped is None
    assert stream.flush() == ""
    assert (stream.stopped, stream.text) == ("\n\n", "x")
    stream = TextStream(["\n\n", "\n\nQ:"])
    assert stream.feed(b"x\n\nA") == "x"
    assert stream.stopped == "\n\n"


@given(
    st.text("ab", max_size=20),
    st.lists(st.text("ab", min_size=1, max_size=5), min_size=1, max_size=4),
    cuts,
)
def test_any_split_stops_alike(text: str, stops: list[str], cuts: list[int]) -> None:
    data = text.encode()
    stream = TextStream(stops)
    released = fed(stream, split(data, cuts))
    assert (released, stream.stopped) == stopped_at_once(data, stops)
    assert stream.text == released


@given(data_of_any_kind, st.lists(st.sampled_from(STOPS), max_size=4), cuts)
@example(b"\xe2\x82", ["\ufffd"], [1])
def test_any_split_of_awkward_text_stops_alike(data: bytes, stops: list[str], cuts: list[int]) -> None:
    stream = TextStream(stops)
    released = fed(stream, split(data, cuts))
    assert (released, stream.stopped) == stopped_at_once(data, stops)


@given(data_of_any_kind, cuts, st.data())
def test_released_text_never_contains_a_stop(data: bytes, cuts: list[int], pick: st.DataObject) -> None:
    text = at_once(data)
    start = pick.draw(st.integers(0, max(0, len(text) - 1)))
    stops = [text[start : start + pick.draw(st.integers(1, 8))] or "x", "\n\n"]
    stream, shown = TextStream(stops), ""
    for piece in split(data, cuts):
        shown += stream.feed(piece)
        assert not any(stop in shown for stop in stops)
        assert stream.text.startswith(shown)
    shown += stream.flush()
    assert not any(stop in shown for stop in stops)
    assert text.startswith(shown)
    assert (stream.stopped is not None) == any(stop in text for stop in stops)


def test_only_what_may_match_is_kept() -> None:
    """The cost of a feed must not grow with the text before it."""
    stream = TextStream(["ab", "aaab"])
    for _ in range(1000):
        stream.feed(b"aaaa")
        assert len(stream._held) <= 3


def test_an_empty_stop_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        TextStream(["a", ""])
