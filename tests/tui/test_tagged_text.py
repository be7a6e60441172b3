"""Tests of wrapping tagged text."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.cells import cell_len
from support.awkward import AWKWARD

from blendin_local.safe_text import sanitize
from blendin_local.tui.tagged_text import TaggedText, wrap

WIDTHS = st.integers(2, 40)


TEXTS = st.one_of(
    st.text(st.sampled_from("ab \n東\N{BAT}\u0301")),
    # A joiner takes the width of any character after it, here and in Textual: use only valid sequences.
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
def test_text_is_wrapped_at_spaces(text: str, lines: list[str]) -> None:
    assert [text[start:end] for start, end in wrap(text, 0, 7)] == lines


@given(TEXTS, WIDTHS)
@example("a" * 100, 7)
@example("\N{BAT}" * 50, 3)
def test_lines_fit_and_drop_only_spaces(text: str, width: int) -> None:
    lines = wrap(text, 0, width)
    assert all(cell_len(text[start:end]) <= width for start, end in lines)
    joined = "".join(text[start:end] for start, end in lines)
    assert "".join(joined.split()) == "".join(text.split())
    places = [place for line in lines for place in line]
    assert places == sorted(places)


@given(st.lists(TEXTS, max_size=8), WIDTHS)
def test_appended_text_is_wrapped_like_the_whole_text(pieces: list[str], width: int) -> None:
    grown = TaggedText()
    grown.layout(width)
    for place, piece in enumerate(pieces):
        grown.append(piece, str(place % 3))
    assert grown.lines == wrap("".join(pieces), 0, width)


@given(st.lists(st.tuples(TEXTS, st.sampled_from("xyz")), max_size=8), WIDTHS)
def test_runs_join_to_their_line(pieces: list[tuple[str, str]], width: int) -> None:
    body = TaggedText()
    for piece, tag in pieces:
        body.append(piece, tag)
    body.layout(width)
    for start, end in body.lines:
        runs = list(body.runs(start, end))
        assert "".join(text for text, _ in runs) == body.text[start:end]
        # Pieces drawn separately are no wider than their line.
        assert sum(cell_len(text) for text, _ in runs) <= width


def test_runs_have_the_tags_of_their_text() -> None:
    body = TaggedText()
    for piece, tag in (("ab", "x"), ("c", "x"), ("d", "y"), ("", "z"), ("ef", "x")):
        body.append(piece, tag)
    body.layout(80)
    assert list(body.runs(0, 6)) == [("abc", "x"), ("d", "y"), ("ef", "x")]
    assert list(body.runs(1, 4)) == [("bc", "x"), ("d", "y")]
