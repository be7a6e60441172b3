"""The journal: what it was handed is in the database, whoever else writes, and however the program ends."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from blendin_local.history import journal as journals
from blendin_local.history.journal import Journal
from blendin_local.history.store import Store
from blendin_local.history.tree import Setup, Turn

SETUP = Setup("base.gguf", "guide.gguf", "demo")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store(tmp_path / "chats.db")) as store:
        yield store


def found(store: Store, query: str) -> list[str]:
    return [listed.id for listed in store.list(query)]


def test_the_journal_writes_in_order_in_a_thread_of_its_own(store: Store) -> None:
    journal = Journal(store)
    threads = set()
    for i in range(50):
        journal.put(lambda store, i=i: store.create(f"c{i}", SETUP))
        journal.put(lambda store, i=i: store.save_turn(f"c{i}", Turn("user", str(i))))
        journal.put(lambda _: threads.add(threading.current_thread()))
    assert journal.flush()
    assert {listed.title for listed in store.list()} == {str(i) for i in range(50)}
    assert threads.isdisjoint({threading.current_thread()})
    journal.put(lambda store: store.set_title("c0", "last"))
    assert journal.close()
    assert journal.problem == ""
    with closing(Store(store.path)) as other:
        assert other.open("c0").title == "last"


def test_without_a_store_nothing_is_kept_and_nothing_fails() -> None:
    journal = Journal(None)
    journal.put(lambda store: store.delete("a"))
    assert journal.flush()
    assert journal.close()
    assert journal.problem == ""


def test_a_call_that_fails_is_told_and_the_journal_goes_on(store: Store) -> None:
    journal = Journal(store)
    journal.put(lambda store: store.save_turn("nowhere", Turn("user", "lost")))
    journal.put(lambda store: store.create("a", SETUP))
    journal.put(lambda store: store.save_turn("a", Turn("user", "kept")))
    assert journal.flush()
    assert "permanently deleted" in journal.problem
    assert found(store, "kept") == ["a"]
    journal.put(lambda store: 1 / 0)
    assert journal.flush()
    assert "ZeroDivisionError" in journal.problem
    assert not journal.close()


def test_a_call_that_is_held_up_is_tried_again_and_nothing_is_lost(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journals, "_RETRY_DELAY_S", 0.01)
    store._database.execute("PRAGMA busy_timeout = 1")
    with closing(sqlite3.connect(store.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        journal = Journal(store)
        journal.put(lambda store: store.create("a", SETUP))
        journal.put(lambda store: store.save_turn("a", Turn("user", "kept")))
        assert not journal.flush()
        assert "locked" in journal.problem
        other.execute("ROLLBACK")
    while not journal.flush():
        pass
    assert journal.problem == ""
    assert found(store, "kept") == ["a"]
    assert journal.close()


def test_closing_does_not_wait_for_a_lock_for_ever(store: Store) -> None:
    store._database.execute("PRAGMA busy_timeout = 1")
    with closing(sqlite3.connect(store.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        journal = Journal(store)
        journal.put(lambda store: store.create("a", SETUP))
        assert not journal.close()
        assert "locked" in journal.problem


# Several programs, and sudden ends

WRITER = """
import sys
from pathlib import Path
from blendin_local.history.store import Store
from blendin_local.history.tree import Setup, Turn
from blendin_local.engine.steps import Source, Step
name, path = sys.argv[1], Path(sys.argv[2])
store = Store(path)
store.create("shared", Setup("b", "g"))
store.create(name, Setup("b", "g"))
for i in range(25):
    for conversation in ("shared", name):
        turn = Turn("user", f"{name} said {i}", id=f"{name} {conversation} {i}")
        store.save_turn(conversation, turn)
        step = Step(index=i, data=name.encode(), text=name, source=Source.BASE)
        store.append_steps(turn.id, 0, [step], turn.text)
"""


def test_programs_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "chats.db"
    names = ("one", "two", "three")
    programs = [subprocess.Popen([sys.executable, "-c", WRITER, name, str(path)]) for name in names]
    assert [program.wait() for program in programs] == [0, 0, 0]
    with closing(Store(path)) as store:
        texts = {turn.text for turn in store.open("shared").tree.turns.values()}
        assert texts == {f"{name} said {i}" for name in names for i in range(25)}
        for name in names:
            assert len(store.open(name).tree.turns) == 25
            assert [step.text for step in store.load_steps(f"{name} shared 24")] == [name]
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


KILLED = """
import sys
from itertools import count
from pathlib import Path
from blendin_local.history.journal import Journal
from blendin_local.history.store import Store
from blendin_local.history.tree import Setup, Turn
from blendin_local.engine.steps import Source, Step
journal = Journal(Store(Path(sys.argv[1])))
journal.put(lambda store: store.create("a", Setup("b", "g")))
journal.put(lambda store: store.save_turn("a", Turn("assistant", id="t")))
text = ""
for i in count():
    steps = [Step(index=i, data=b"", text=f"word{i} ", source=Source.BASE)]
    text += steps[0].text
    journal.put(lambda store: store.append_steps("t", i, steps, text))
    journal.put(lambda store: print(i, flush=True))
    journal.flush()
"""


def test_a_killed_program_loses_nothing_that_the_journal_had_written(tmp_path: Path) -> None:
    path = tmp_path / "chats.db"
    with subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE) as program:
        assert program.stdout
        told = [program.stdout.readline() for _ in range(60)]
        os.kill(program.pid, signal.SIGKILL)
        told += program.stdout.read().splitlines()
    with closing(Store(path)) as store:
        turn = store.open("a").tree.turns["t"]
        steps = store.load_steps("t")
    assert len(steps) >= len(told) >= 60
    assert [each.index for each in steps] == list(range(len(steps)))
    assert turn.text == "".join(each.text for each in steps)
    assert (turn.finish_reason, turn.summary.steps) == ("cancelled", len(steps))
