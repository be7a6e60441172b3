"""The list of kept conversations, and what is found in them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.awkward import AWKWARD
from support.kept_conversations import SETUP, found, reply, said, steps_of

from blendin_local.history import schema
from blendin_local.history.search import MATCH_BEGINS, MATCH_ENDS
from blendin_local.history.store import Store
from blendin_local.history.tree import Setup


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store(tmp_path / "chats.db")) as store:
        yield store


def test_the_list(store: Store) -> None:
    said(store, "a", "first", "answer")
    said(store, "b", "second", setup=Setup("base.gguf", "guide.gguf"))
    store.create("empty", SETUP)
    store.save_turn("a", reply("another answer", "a0"))
    first, second = store.list()
    assert (first.id, first.title, first.messages, first.pair, first.snippet) == ("a", "first", 2, "demo", "")
    assert (second.id, second.pair) == ("b", "base.gguf + guide.gguf")
    assert first.created <= second.created <= second.updated <= first.updated
    assert [listed.id for listed in store.list(limit=1)] == ["a"]


FOUND = {
    "harbour": "sea",
    "HARB": "sea",
    "arbou": "sea",
    "sea harbour": "sea",
    "harbour mountain": "",
    "cafe": "cafe",
    "CAFÉ": "cafe",
    "ﬁve": "cafe",
    "東京": "tokyo",
    "東": "tokyo",
    "の首都": "tokyo",
    "서울": "tokyo",
    "tokyo": "tokyo",
    "it's": "cafe",
    '"quoted"': "cafe",
    "c++": "cafe",
    "a": "cafe sea",
    "  ": "cafe sea tokyo",
    "\N{COMBINING ACUTE ACCENT}": "cafe sea tokyo",
}


def test_finding(store: Store) -> None:
    said(store, "sea", "A map of the sea", "Ships leave the harbour at dawn.")
    said(store, "cafe", 'five c++ "quoted" it\'s', "Un cafe\u0301, s'il vous plaît")
    said(store, "tokyo", "東京は日本の首都です", "네, 서울은 한국의")
    store.set_title("tokyo", "Tokyo")
    assert {query: " ".join(sorted(found(store, query))) for query in FOUND} == FOUND


QUERIES = (
    *('"', "'", '""', "a OR", "NOT b", "x*", "^x", "text:x", "(", ")", "{a b}:", "-", "NEAR(a b, 2)"),
    *("%", "_", "\\", ";--", "\0", "a\0b", "abc\0def", "\ud800", "\ud800" * 3, "x" * 5000, *AWKWARD),
)


def test_no_character_has_a_meaning_of_its_own(store: Store) -> None:
    said(store, "a", "zzz", "www")
    for id, query in enumerate(QUERIES):
        words = schema.fold(query).split()
        assert ("a" in found(store, query)) == (not words), query
        said(store, str(id), f"before {query} after")
        assert str(id) in found(store, query), query


def test_a_text_that_changed_is_found_by_its_new_words_only(store: Store) -> None:
    (question,) = said(store, "a", "Why?")
    turn = reply("", question.id, finish_reason=None)
    store.save_turn("a", turn)
    store.append_steps(turn.id, 0, steps_of("old words"), "old words")
    assert found(store, "old") == ["a"]
    turn.text = "new words"
    store.save_turn("a", turn)
    assert (found(store, "old"), found(store, "new")) == ([], ["a"])


def test_snippets_mark_what_was_found(store: Store) -> None:
    said(store, "a", "title", f"{'long ' * 50}\nthe \x02Café\x03 and the   cafe\u0301s {'tail ' * 80}")
    (listed,) = store.list("cafe the")
    marked = listed.snippet.replace(MATCH_BEGINS, "[").replace(MATCH_ENDS, "]")
    assert marked.startswith("…")
    assert "[the] [Café] and [the] [cafe\u0301]s tail tail" in marked
    assert marked.endswith("…")
    assert len(marked) < 300
    (listed,) = store.list("titl")
    assert listed.snippet == f"{MATCH_BEGINS}titl{MATCH_ENDS}e"
    store.set_title("a", "Renamed")
    assert store.list("renamed")[0].snippet == "title"


@given(st.text(max_size=40), st.lists(st.text(min_size=1, max_size=4), max_size=3))
def test_snippets_lose_no_character(text: str, words: list[str]) -> None:
    from blendin_local.history.search import _snippet

    snippet = _snippet(text, [word for each in words for word in schema.fold(each).split()])
    assert snippet.count(MATCH_BEGINS) == snippet.count(MATCH_ENDS)
    plain = text.replace(MATCH_BEGINS, " ").replace(MATCH_ENDS, " ")
    shown = snippet.replace(MATCH_BEGINS, "").replace(MATCH_ENDS, "")
    assert shown.removeprefix("…").split() == plain.split() or "…" in shown
