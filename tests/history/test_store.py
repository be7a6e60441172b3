"""Kept conversations: what is written comes back, and is found."""

from __future__ import annotations

import json
import math
import sqlite3
import stat
import threading
import zlib
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.awkward import AWKWARD
from support.kept_conversations import SETUP, found, reply, said, steps_of

from blendin_local.errors import HistoryError
from blendin_local.history import schema
from blendin_local.history.document import as_json
from blendin_local.history.html_export import as_page
from blendin_local.history.markdown import as_markdown
from blendin_local.history.records import encode_setup, summarize
from blendin_local.history.store import Store
from blendin_local.history.tree import Setup, Tree, Turn


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store(tmp_path / "new folder" / "chats.db")) as store:
        yield store


def path(store: Store, id: str) -> list[str]:
    return [turn.text for turn in store.open(id).tree.path()]


# Keeping


def test_a_conversation_comes_back_as_it_was(store: Store) -> None:
    (question,) = said(store, "a", "Why is the sky blue?")
    answer = reply("Because of Rayleigh scattering", question.id)
    answer.forked_from, answer.fork, answer.dropped = "other", 1, 2
    answer.models, answer.calibrated = {"base": "x"}, True
    answer.summary = summarize(answer.steps, kept=1)
    answer.summary.timings.total_s = 1.5
    answer.summary.finish_reason = "stop"
    store.save_turn("a", answer)
    store.append_steps(answer.id, 0, answer.steps[:2], "Because of ")
    store.append_steps(answer.id, 2, answer.steps[2:], answer.text)
    with closing(Store(store.path)) as other:
        kept = other.open("a")
        back = kept.tree.turns[answer.id]
        assert (kept.id, kept.title, kept.setup) == ("a", "Why is the sky blue?", SETUP)
        assert [turn.id for turn in kept.tree.path()] == [question.id, answer.id]
        assert back.steps == []
        back.steps = other.load_steps(answer.id)
        assert all(getattr(back, field.name) == getattr(answer, field.name) for field in fields(Turn))


def test_any_text_is_kept_and_found(store: Store) -> None:
    for id, text in enumerate([*AWKWARD, "half a pair \ud800"]):
        said(store, str(id), text, f"the answer to it: <{id}>")
        (question, _) = store.open(str(id)).tree.path()
        assert question.text == text.replace("\ud800", "?")
        assert found(store, f"<{id}>") == [str(id)]
        for word in question.text.split():
            assert str(id) in found(store, word), word


def test_a_reply_that_no_program_finished_ends_as_cut(store: Store) -> None:
    (question,) = said(store, "a", "Why?")
    cut = reply("one two three four", question.id, finish_reason=None)
    cut.fork = 1
    cut.summary = summarize(())
    store.save_turn("a", cut)
    store.append_steps(cut.id, 0, cut.steps[:2], "one two ")
    back = store.open("a").tree.turns[cut.id]
    assert (back.text, back.finish_reason) == ("one two ", "cancelled")
    assert (back.summary.steps, back.summary.kept, back.summary.finish_reason) == (2, 1, "cancelled")
    assert store.load_steps(cut.id) == cut.steps[:2]
    failed = reply("", question.id, finish_reason=None)
    failed.error = "A model failed."
    store.save_turn("a", failed)
    assert store.open("a").tree.turns[failed.id].finish_reason is None


def test_steps_given_again_take_the_place_of_the_old_ones(store: Store) -> None:
    (question,) = said(store, "a", "Why?")
    turn = reply("a b c d e f", question.id)
    store.save_turn("a", turn)
    for first in (0, 2, 4):
        store.append_steps(turn.id, first, turn.steps[first : first + 2], turn.text)
    again = steps_of("x y z")
    store.append_steps(turn.id, 1, again, "a x y z")
    assert store.load_steps(turn.id) == [turn.steps[0], *again]


def test_titles(store: Store) -> None:
    said(store, "a", "\n   First \t line\r\nsecond line", "answer")
    assert store.open("a").title == "First line"
    said(store, "b", "word " * 40)
    assert len(store.open("b").title) <= 60
    assert store.open("b").title.endswith("…")
    store.set_title("a", " My [b]own[/b] \x1b[31mtitle ")
    store.save_turn("a", Turn("user", "another first message"))
    assert store.open("a").title == "My [b]own[/b] \x1b[31mtitle"
    assert store.set_title("a", " ") == store.open("a").title == "First line"


def test_setups_and_paths_of_a_conversation(store: Store) -> None:
    question, answer = said(store, "a", "Why?", "So.")
    other = reply("Otherwise.", question.id)
    store.save_turn("a", other)
    assert path(store, "a") == ["Why?", "Otherwise."]
    store.set_leaf("a", answer.id)
    store.set_setup("a", Setup("b2", "g2"))
    assert path(store, "a") == ["Why?", "So."]
    assert store.open("a").setup == Setup("b2", "g2")


def test_a_removal_is_undone_as_the_tree_undoes_it(store: Store) -> None:
    said(store, "a", "q1", "r1", "q2", "r2", "q3")
    tree = store.open("a").tree
    states = [state_of(store)]
    removals = []
    for id in ("a2", "a0", "a4"):
        removals.append(tree.remove(tree.turns[id]))
        store.remove("a", removals[-1], tree.leaf)
        states.append(state_of(store))
        assert states[-1] == {turn.id: turn.parent for turn in tree.turns.values()}
    assert found(store, "r1") == []
    while removals:
        assert state_of(store) == states.pop()
        tree.restore(removals[-1])
        store.restore("a", removals.pop())
    assert state_of(store) == states.pop()
    assert [turn.id for turn in store.open("a").tree.path()] == ["a0", "a1", "a2", "a3", "a4"]


def test_what_follows_a_removed_question_stays_when_that_is_purged(store: Store) -> None:
    said(store, "a", "q1", "r1", "q2", "r2", "q3")
    tree = store.open("a").tree
    removal = tree.remove(tree.turns["a2"])
    store.remove("a", removal, tree.leaf)
    assert (found(store, "q2"), found(store, "q3")) == ([], ["a"])
    store.purge(-1)
    assert path(store, "a") == ["q1", "r1", "q3"]


def state_of(store: Store) -> dict[str, str | None]:
    return {turn.id: turn.parent for turn in store.open("a").tree.turns.values()}


def test_what_another_program_says_below_a_removed_turn_is_not_lost(store: Store) -> None:
    question, answer = said(store, "a", "q1", "r1")
    with closing(Store(store.path)) as other:
        other.save_turn("a", Turn("user", "q2", answer.id))
    tree = Tree([question, answer])
    store.remove("a", tree.remove(answer), tree.leaf)
    (left,) = store.open("a").tree.children(question.id)
    assert left.text == "q2"
    assert [listed.id for listed in store.list()] == ["a"]


def test_two_answers_below_one_removed_reply_both_hang_on_what_is_left(store: Store) -> None:
    question, answer = said(store, "a", "q1", "r1")
    with closing(Store(store.path)) as other:
        for text in ("q2", "q3"):
            other.save_turn("a", Turn("user", text, answer.id))
    tree = Tree([question, answer])
    store.remove("a", tree.remove(answer), tree.leaf)
    assert [turn.text for turn in store.open("a").tree.children(question.id)] == ["q2", "q3"]


def test_removed_turns_in_a_circle_are_no_trap(store: Store) -> None:
    said(store, "a", "q1", "r1", "q2")
    store._database.execute("UPDATE turns SET removed = 1, parent = 'a1' WHERE id = 'a0'")
    store._database.execute("UPDATE turns SET removed = 1 WHERE id = 'a1'")
    assert state_of(store) == {"a2": None}


def test_what_is_read_does_not_wait_for_what_is_written(store: Store) -> None:
    """Neither for another program's writing, nor for this one's, which waits for that."""
    (question,) = said(store, "a", "Why?")
    cut = reply("one two", question.id, finish_reason=None)
    store.save_turn("a", cut)
    store.append_steps(cut.id, 0, cut.steps, cut.text)
    with closing(sqlite3.connect(store.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("UPDATE conversations SET title = 'Unfinished'")
        waiting = threading.Thread(target=store.set_title, args=("a", "Mine"))
        waiting.start()
        while not store._write_lock.locked():
            waiting.join(0.001)
        assert [listed.title for listed in store.list("one")] == ["Why?"]
        assert store.open("a").tree.turns[cut.id].summary.steps == 2
        assert store.load_steps(cut.id) == cut.steps
        assert waiting.is_alive()
        other.execute("ROLLBACK")
    waiting.join()
    assert store.open("a").title == "Mine"


def test_deleted_conversations_come_back_until_they_are_purged(store: Store) -> None:
    said(store, "a", "alpha", "aleph")
    said(store, "b", "beta")
    store.append_steps("a1", 0, steps_of("aleph"), "aleph")
    store.delete("a")
    assert found(store, "") == ["b"]
    assert found(store, "alpha") == []
    with pytest.raises(HistoryError, match="does not exist"):
        store.open("a")
    store.purge(3600)
    store.undelete("a")
    assert path(store, "a") == ["alpha", "aleph"]
    store.delete("a")
    tree = store.open("b").tree
    store.remove("b", tree.remove(tree.turns["b0"]), tree.leaf)
    store.purge(-1)
    store.undelete("a")
    assert found(store, "") == []
    with closing(sqlite3.connect(store.path)) as database:
        for table in ("turns", "chunks", "texts"):
            assert database.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)


def test_a_deleted_conversation_comes_back_where_another_program_goes_on_with_it(store: Store) -> None:
    said(store, "a", "alpha")
    store.delete("a")
    with closing(Store(store.path)) as other:
        other.save_turn("a", Turn("assistant", "aleph", "a0"))
    assert path(store, "a") == ["alpha", "aleph"]


# The file


def test_only_the_user_can_read_it(store: Store) -> None:
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o600


def test_a_database_of_the_first_version_is_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    with closing(sqlite3.connect(path)) as old:
        old.executescript(schema.MIGRATIONS[0] + "PRAGMA user_version = 1;")
        old.execute("INSERT INTO conversations VALUES ('a', 1.0, 2.0, ?, 't2', NULL)", (encode_setup(SETUP),))
        rows = [("t1", None, "user", 1.0, "Où est le café?\nsecond"), ("t2", "t1", "assistant", 2.0, "Là.")]
        for row in rows:
            old.execute("INSERT INTO turns VALUES (NULL, ?, 'a', ?, ?, ?, ?, '', '', NULL)", row)
        old.commit()
    for _ in range(2):
        with closing(Store(path)) as store:
            (listed,) = store.list("cafe")
            assert (listed.title, listed.messages) == ("Où est le café?", 2)
            assert [turn.text for turn in store.open("a").tree.path()] == [rows[0][-1], "Là."]


def test_a_migration_that_fails_leaves_the_database_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "chats.db"
    Store(path).close()
    broken = (*schema.MIGRATIONS, "CREATE TABLE more (x); INSERT INTO nowhere VALUES (1);")
    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", broken)
        with pytest.raises(HistoryError, match="nowhere"):
            Store(path)
    with closing(Store(path)) as store:
        said(store, "a", "still here")
        assert found(store, "here") == ["a"]
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT count(*) FROM sqlite_master WHERE name = 'more'").fetchone() == (0,)


def test_what_cannot_be_opened_is_said_in_a_sentence_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "chats.db"
    with closing(Store(path)) as store:
        said(store, "a", "text " * 2000)
    whole = path.read_bytes()
    newer = whole[:60] + (len(schema.MIGRATIONS) + 1).to_bytes(4, "big") + whole[64:]
    for data, message in (
        (newer, "newer version"),
        (b"not a database at all" * 100, "damaged"),
        (whole[: len(whole) // 2], "damaged"),
    ):
        path.write_bytes(data)
        with pytest.raises(HistoryError, match=message) as caught, closing(Store(path)) as store:
            store.list("text")
            store.open("a")
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
        assert path.read_bytes() == data


def test_damaged_steps_are_said_in_a_sentence(store: Store) -> None:
    (turn,) = said(store, "a", "Why?")
    store.append_steps(turn.id, 0, steps_of("a b"), "a b")
    store._database.execute("UPDATE chunks SET steps = x'00'")
    with pytest.raises(HistoryError, match="damaged"):
        store.load_steps(turn.id)


# What others may have written into the file

_ODD = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.text(max_size=8),
    st.binary(max_size=8),
    st.sampled_from(["{", "[]", "null", "[" * 5000, '{"summary": 5}', '{"models": 3, "fork": "x"}', "a"]),
)
_FACTS = ("title", "setup", "leaf", "updated")
_COLUMNS = ("id", "parent", "role", "created", "text", "setup", "details")


@given(
    st.dictionaries(st.sampled_from(_COLUMNS), _ODD),
    st.sampled_from(["title", "setup", "leaf", "updated"]),
    _ODD,
)
def test_odd_values_cost_a_message_at_most(
    tmp_path_factory: pytest.TempPathFactory, changes: dict[str, object], column: str, value: object
) -> None:
    with closing(Store(tmp_path_factory.mktemp("odd") / "chats.db")) as store:
        said(store, "a", "Why?", "So.", "And?", "Thus.")
        for name, odd in changes.items():
            with suppress(sqlite3.Error):  # the schema refuses some
                store._database.execute(f"UPDATE turns SET {name} = ? WHERE text = 'So.'", (odd,))
        with suppress(sqlite3.Error):
            store._database.execute(f"UPDATE conversations SET {column} = ?", (value,))
        store._database.commit()
        for listed in store.list():
            kept = store.open(listed.id)
            texts = [turn.text for turn in kept.tree.turns.values()]
            assert {"Why?", "And?", "Thus."} <= set(texts) and len(texts) + kept.damaged == 4
            kept.tree.path()
            json.loads(as_json(kept.title, kept.setup, kept.tree))
            as_page(kept.title, kept.setup, kept.tree)
            as_markdown(kept.title, kept.setup, kept.tree)


def test_circles_of_parents_are_broken(store: Store) -> None:
    said(store, "a", "Why?", "So.", "And?", "Thus.")
    turns = [turn.id for turn in store.open("a").tree.path()]
    store._database.execute("UPDATE turns SET parent = ? WHERE id = ?", (turns[3], turns[0]))
    store._database.execute("UPDATE turns SET parent = id WHERE id = ?", (turns[2],))
    store._database.commit()
    tree = store.open("a").tree
    assert len(tree.turns) == 4
    for turn in tree.turns:
        assert len(tree.upto(turn)) <= 4


@pytest.mark.parametrize(
    "columns",
    [
        {"text": ["a"], "c_b": [float("inf")], "alpha": [float("nan")], "c_g": ["x"], "index": ["y"]},
        {"text": [5], "data": ["a"], "source": [["base"]], "finish_reason": [{}]},
        {"text": ["a"], "base_tokens": [[2**70]]},
        {"text": ["a"], "base_tokens": [["x"]], "candidates": [[[["a"], ["p"], ["o"]]]]},
        {"text": ["a"], "candidates": [[[["a"], [1e999], [1]], [[], [], []]]]},
        {"text": "abc", "source": 7},
        [1, 2],
        "text",
        {"text": ["a", "b"], "source": ["base"]},
    ],
)
def test_odd_steps_are_damaged_or_read_as_far_as_they_go(store: Store, columns: object) -> None:
    said(store, "a", "Why?", "So.")
    reply = store.open("a").tree.path()[1]
    data = zlib.compress(json.dumps(columns).encode())
    store._database.execute("DELETE FROM chunks")
    store._database.execute("INSERT INTO chunks VALUES (?, 0, ?)", (reply.id, data))
    store._database.commit()
    try:
        reply.steps = store.load_steps(reply.id)
    except HistoryError as error:
        assert "damaged" in str(error)
        return
    for step in reply.steps:
        assert isinstance(step.text, str) and type(step.index) is int
        assert all(value is None or math.isfinite(value) for value in (step.c_b, step.alpha))
    tree = Tree([reply])
    reply.parent = None
    json.loads(as_json("T", Setup("", ""), tree))
    as_page("T", Setup("", ""), tree)


@pytest.mark.parametrize(
    "data", [b"", b"x", "text", 7, zlib.compress(b"[" * 100_000), zlib.compress(b"0" * (1 << 28))]
)
def test_chunks_that_are_none_are_said_in_a_sentence(store: Store, data: object) -> None:
    said(store, "a", "Why?", "So.")
    reply = store.open("a").tree.path()[1]
    store._database.execute("DELETE FROM chunks")
    store._database.execute("INSERT INTO chunks VALUES (?, 0, ?)", (reply.id, data))
    store._database.commit()
    with pytest.raises(HistoryError, match="damaged"):
        store.load_steps(reply.id)


def test_a_folder_that_cannot_be_made_or_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HistoryError, match="cannot be saved"):
        Store(tmp_path / "file" / "chats.db")
    with pytest.raises(HistoryError, match="cannot be saved"):
        Store(tmp_path)


def test_a_file_system_without_shared_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "_write_ahead", lambda database: "delete")
    with pytest.raises(HistoryError, match="network"):
        Store(tmp_path / "chats.db")
