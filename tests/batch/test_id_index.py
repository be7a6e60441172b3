"""Which rows were met and answered, and how little memory it takes to know."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blendin_local.batch.id_index import IdIndex
from blendin_local.errors import BatchError


@pytest.fixture
def ledger() -> Iterator[IdIndex]:
    with closing(IdIndex()) as ledger:
        yield ledger


def test_an_id_is_a_duplicate_from_the_second_time_on(ledger: IdIndex) -> None:
    assert [ledger.seen(id) for id in ("a", "b", "a", "A", "a")] == [False, False, True, False, True]


def test_an_answer_is_known_by_what_was_asked(ledger: IdIndex) -> None:
    assert ledger.done("a") is None
    assert ledger.answer("a", "digest")
    assert ledger.done("a") == "digest"
    assert ledger.answer("b", None)
    assert ledger.done("b") == ""


def test_what_is_answered_is_not_answered_again(ledger: IdIndex) -> None:
    assert ledger.answer("a", "one")
    assert not ledger.answer("a", "two")
    assert ledger.done("a") == "one"


def test_met_and_answered_are_two_things(ledger: IdIndex) -> None:
    """What the output holds is no duplicate when the input comes to it for the first time."""
    ledger.answer("a", "one")
    assert not ledger.seen("a")
    assert ledger.seen("a")
    ledger.seen("b")
    assert ledger.done("b") is None
    assert ledger.answer("b", "two")


def test_each_duplicate_is_reported_once(ledger: IdIndex) -> None:
    ledger.report("a")
    assert not ledger.seen("a")
    assert ledger.seen("a") and ledger.reported("a")
    assert ledger.seen("a") and not ledger.reported("a")
    ledger.report("a")
    assert ledger.reported("a")
    assert ledger.done("a") is None


@pytest.mark.parametrize("id", ["", "\0", "ä", "\ud800", "x" * 100_000, "'; DROP TABLE ids; --"])
def test_every_text_is_an_id(ledger: IdIndex, id: str) -> None:
    assert not ledger.seen(id)
    assert ledger.answer(id, "digest")
    assert ledger.seen(id)
    assert ledger.done(id) == "digest"
    assert not ledger.seen(id + "x")


_IDS = st.sampled_from(["a", "b", "c", "\ud800", ""])


@given(st.lists(st.tuples(st.sampled_from(["seen", "answer", "report"]), _IDS)))
def test_it_agrees_with_a_dictionary(calls: list[tuple[str, str]]) -> None:
    met: Counter[str] = Counter()
    reported: Counter[str] = Counter()
    answers: dict[str, str] = {}
    with closing(IdIndex()) as ledger:
        for number, (call, id) in enumerate(calls):
            if call == "seen":
                met[id] += 1
                assert ledger.seen(id) == (met[id] > 1)
                assert ledger.reported(id) == (reported[id] >= met[id] - 1)
            elif call == "answer":
                assert ledger.answer(id, str(number)) == (id not in answers)
                answers.setdefault(id, str(number))
            else:
                reported[id] += 1
                ledger.report(id)
            assert ledger.done(id) == answers.get(id)


def test_a_full_disk_is_one_sentence(ledger: IdIndex) -> None:
    ledger._database.execute("PRAGMA max_page_count = 2")
    with pytest.raises(BatchError, match=r"list of finished rows cannot be kept .* full\): free space"):
        for number in range(10_000):
            ledger.answer(str(number), "digest")


_MANY = """
import psutil
from blendin_local.batch.id_index import IdIndex
ledger, sizes = IdIndex(), []
for number in range(80_000):
    assert not ledger.seen(f"row-{number}")
    assert ledger.answer(f"row-{number}", f"{number:016x}")
    if number in (20_000, 79_999):
        sizes.append(psutil.Process().memory_info().rss)
assert ledger.done("row-50000") == f"{50000:016x}"
print(sizes[1] - sizes[0])
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_rows() -> None:
    done = subprocess.run([sys.executable, "-c", _MANY], capture_output=True, text=True, check=True)
    grown = int(done.stdout)
    # SQLite's cache and little beside: in memory the ids would take twice as much.
    assert grown < 5 << 20, grown
