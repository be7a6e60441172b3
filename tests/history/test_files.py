"""Conversations written to files, and brought back from them."""

from __future__ import annotations

import errno
from contextlib import closing
from dataclasses import fields
from pathlib import Path

import pytest
from support.conversations import PLAIN, SETUP, conversation, everything, own, word

from blendin_local.engine.steps import Step
from blendin_local.errors import HistoryError
from blendin_local.history.exports import export
from blendin_local.history.imports import import_file, load
from blendin_local.history.records import summarize
from blendin_local.history.store import Store
from blendin_local.history.tree import Turn


@pytest.mark.parametrize(("suffix", "start"), [(".md", "# T"), (".HTML", "<!DOCTYPE html>"), (".json", "{")])
def test_the_suffix_chooses_the_format(tmp_path: Path, suffix: str, start: str) -> None:
    path = tmp_path / f"talk{suffix}"
    export("T", PLAIN, conversation("q", "r\ud800"), path, steps_of=own)
    assert path.read_text("utf-8").startswith(start)
    assert [each.name for each in tmp_path.glob("talk*")] == [path.name]


def test_what_was_exported_can_be_loaded(tmp_path: Path) -> None:
    tree = conversation("q", "one two")
    export("T", SETUP, tree, tmp_path / "talk.json", steps_of=own)
    title, setup, back = load(tmp_path / "talk.json")
    assert (title, setup, everything(back)) == ("T", SETUP, everything(tree))


@pytest.mark.parametrize("suffix", [".json", ".html"])
def test_steps_are_read_once_for_the_file_and_not_held(tmp_path: Path, suffix: str) -> None:
    tree = conversation("q", "one two", "r", "three")
    kept = {turn.id: turn.steps for turn in tree.turns.values()}
    asked = []

    def steps_of(turn: Turn) -> list[Step]:
        asked.append(turn.id)
        return kept[turn.id]

    now = tree.copy()
    for turn in tree.turns.values():
        turn.steps = []
    export("T", PLAIN, tree, tmp_path / f"lazy{suffix}", steps_of=steps_of)
    export("T", PLAIN, now, tmp_path / f"whole{suffix}", steps_of=own)
    assert asked == ["1", "3"]
    assert not any(turn.steps for turn in tree.turns.values())
    assert (tmp_path / f"lazy{suffix}").read_text() == (tmp_path / f"whole{suffix}").read_text()


def test_markdown_needs_no_steps(tmp_path: Path) -> None:
    def damaged(turn: Turn) -> list[Step]:
        raise HistoryError("Damaged.")

    export("T", PLAIN, conversation("q", "r"), tmp_path / "talk.md", steps_of=damaged)


def test_a_file_that_exists_stays(tmp_path: Path) -> None:
    path = tmp_path / "talk.md"
    path.write_text("mine")
    with pytest.raises(HistoryError, match=r"exists already: choose another name\.$"):
        export("T", PLAIN, conversation("q", "r"), path, steps_of=own)
    assert path.read_text() == "mine"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("talk.txt", r"must end in \.md, \.html, \.json"),
        ("none/talk.md", "There is no folder .*none: make it"),
        ("folder.md", "is a folder"),
        ("x" * 300 + ".md", "cannot be written: File name too long"),
        ("\ud800.md", "cannot be written: .*surrogates"),
    ],
)
def test_where_nothing_can_be_written_one_sentence_says_why(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "folder.md").mkdir()
    with pytest.raises(HistoryError, match=message):
        export("T", PLAIN, conversation("q", "r"), tmp_path / name, steps_of=own)


def test_a_folder_that_may_not_be_entered_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> bool:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "exists", refuse)
    with pytest.raises(HistoryError, match=r"talk\.md cannot be written: Permission denied\."):
        export("T", PLAIN, conversation("q", "r"), tmp_path / "talk.md", steps_of=own)


@pytest.mark.parametrize(
    ("content", "message"), [(None, "cannot be read"), (b"\xff\xfe\x00", "it is UTF-16 text")]
)
def test_what_cannot_be_read_is_said(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "talk.json").write_bytes(content)
    with pytest.raises(HistoryError, match=message):
        load(tmp_path / "talk.json")


def test_what_is_no_file_or_has_no_name_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(HistoryError, match="it is a folder"):
        load(tmp_path)
    with pytest.raises(HistoryError, match="cannot be read: File name too long"):
        load(tmp_path / ("x" * 300))


def test_a_conversation_is_brought_back_as_often_as_one_likes(tmp_path: Path) -> None:
    tree = conversation("first", "one two", "second", "three")
    tree.add(Turn("assistant", "one four", "0", "b", 9.0, finish_reason="stop", setup=SETUP, fork=1))
    tree.turns["b"].steps, tree.turns["b"].forked_from = [word(0, "one "), word(1, "four")], "1"
    tree.turns["b"].summary = summarize(tree.turns["b"].steps, 1)
    tree.turns["b"].summary.finish_reason = "stop"
    tree.turns["3"].forked_from = "removed since"
    tree.select(tree.turns["3"])
    path = tmp_path / "talk.json"
    export("Title\ud800", SETUP, tree, path, steps_of=own)
    with closing(Store(tmp_path / "chats.db")) as store:
        one, two = import_file(path, store), import_file(path, store)
        assert {listed.id for listed in store.list("four")} == {one, two}
        kept, other = store.open(one), store.open(two)
        assert not set(kept.tree.turns) & ({*other.tree.turns} | {*tree.turns})
        assert (kept.title, kept.setup) == ("Title?", SETUP)
        names = dict(zip(kept.tree.turns, tree.turns, strict=True))
        for turn in kept.tree.turns.values():
            turn.steps = store.load_steps(turn.id)
            turn.id, turn.parent = names[turn.id], names.get(turn.parent)
            turn.forked_from = names.get(turn.forked_from)
        tree.turns["3"].forked_from = None
        # A reply without an end, as "1" is, comes back as one that was cut.
        finished = [turn for turn in tree.turns.values() if turn.finish_reason or not turn.is_reply]
        back = {turn.id: turn for turn in kept.tree.turns.values()}
        for turn in finished:
            assert all(
                getattr(back[turn.id], field.name) == getattr(turn, field.name) for field in fields(Turn)
            )
        assert back["1"].steps == tree.turns["1"].steps
        assert names[kept.tree.leaf or ""] == "3"


def test_what_cannot_be_brought_back_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "talk.json").write_text("{}")
    with closing(Store(tmp_path / "chats.db")) as store:
        with pytest.raises(HistoryError, match="is not a conversation"):
            import_file(tmp_path / "talk.json", store)
        assert store._database.execute("SELECT count(*) FROM conversations").fetchone() == (0,)
