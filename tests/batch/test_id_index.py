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
def index() -> Iterator[IdIndex]:
    with closing(IdIndex()) as index:
        yield index


def test_an_id_is_a_duplicate_from_the_second_time_on(index: IdIndex) -> None:
    assert [index.count(id) for id in ("a", "b", "a", "A", "a")] == [False, False, True, False, True]


def test_an_answer_is_known_by_what_was_asked(index: IdIndex) -> None:
    assert index.digest_of("a") is None
    assert index.add_answer("a", "digest")
    assert index.digest_of("a") == "digest"
    assert index.add_answer("b", None)
    assert index.digest_of("b") == ""


def test_what_is_answered_is_not_answered_again(index: IdIndex) -> None:
    assert index.add_answer("a", "one")
    assert not index.add_answer("a", "two")
    assert index.digest_of("a") == "one"


def test_met_and_answered_are_two_things(index: IdIndex) -> None:
    """What the output holds is no duplicate when the input comes to it for the first time."""
    index.add_answer("a", "one")
    assert not index.count("a")
    assert index.count("a")
    index.count("b")
    assert index.digest_of("b") is None
    assert index.add_answer("b", "two")


def test_each_duplicate_is_reported_once(index: IdIndex) -> None:
    index.add_duplicate("a")
    assert not index.count("a")
    assert index.count("a") and index.is_reported("a")
    assert index.count("a") and not index.is_reported("a")
    index.add_duplicate("a")
    assert index.is_reported("a")
    assert index.digest_of("a") is None


@pytest.mark.parametrize("id", ["", "\0", "ä", "\ud800", "x" * 100_000, "'; DROP TABLE ids; --"])
def test_every_text_is_an_id(index: IdIndex, id: str) -> None:
    assert not index.count(id)
    assert index.add_answer(id, "digest")
    assert index.count(id)
    assert index.digest_of(id) == "digest"
    assert not index.count(id + "x")


_IDS = st.sampled_from(["a", "b", "c", "\ud800", ""])


@given(st.lists(st.tuples(st.sampled_from(["seen", "answer", "report"]), _IDS)))
def test_it_agrees_with_a_dictionary(calls: list[tuple[str, str]]) -> None:
    met: Counter[str] = Counter()
    reported: Counter[str] = Counter()
    answers: dict[str, str] = {}
    with closing(IdIndex()) as index:
        for number, (call, id) in enumerate(calls):
            if call == "seen":
                met[id] += 1
                assert index.count(id) == (met[id] > 1)
                assert index.is_reported(id) == (reported[id] >= met[id] - 1)
            elif call == "answer":
                assert index.add_answer(id, str(number)) == (id not in answers)
                answers.setdefault(id, str(number))
            else:
                reported[id] += 1
                index.add_duplicate(id)
            assert index.digest_of(id) == answers.get(id)


def test_a_full_disk_is_one_sentence(index: IdIndex) -> None:
    index._database.execute("PRAGMA max_page_count = 2")
    with pytest.raises(BatchError, match=r"list of finished rows cannot be kept .* full\): free space"):
        for number in range(10_000):
            index.add_answer(str(number), "digest")


_MANY = """
import psutil
from blendin_local.batch.id_index import IdIndex
index, sizes = IdIndex(), []
for number in range(80_000):
    assert not index.count(f"row-{number}")
    assert index.add_answer(f"row-{number}", f"{number:016x}")
    if number in (20_000, 79_999):
        sizes.append(psutil.Process().memory_info().rss)
assert index.digest_of("row-50000") == f"{50000:016x}"
print(sizes[1] - sizes[0])
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_rows() -> None:
    done = subprocess.run([sys.executable, "-c", _MANY], capture_output=True, text=True, check=True)
    grown = int(done.stdout)
    # SQLite's cache and little beside: in memory the ids would take twice as much.
    assert grown < 5 << 20, grown
