"""A pass that is stopped, killed or damaged at any place goes on to the record of an undisturbed one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.examples import examples
from support.fakes import FakeModel
from support.paths import TESTS
from support.records import assert_same, made
from support.scoring_pass import ALL, COSTS, EXAMPLES, LENGTHS, make_pair, make_text, run

from blendin_local.engine.language_model import Cancellation
from blendin_local.engine.pair import Pair
from blendin_local.engine.prompts import Message
from blendin_local.errors import EvaluationError, ModelError, PromptError
from blendin_local.settings import ModelOptions
from blendin_local.tune import passes
from blendin_local.tune.costs import Costs
from blendin_local.tune.examples import Example
from blendin_local.tune.passes import PassCheckpoint, finish_pass, pass_key, run_pass, speed_key
from blendin_local.tune.record import Record, load_record, save_record
from blendin_local.tune.scoring import Cancelled, Text


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every answer is kept at once, and neither speed nor power failures are what these tests are about."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    monkeypatch.setattr(passes, "_SAVE_EVERY_S", 0.0)
    monkeypatch.setattr(passes, "measure_costs", lambda *_: COSTS)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Record:
    """The record of a pass that nobody disturbed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passes, "measure_costs", lambda *_: COSTS)
        return run(tmp_path_factory.mktemp("whole")).record


def scored_by(pair: Pair) -> int:
    """How many replies were read."""
    model = pair.guide
    assert isinstance(model, FakeModel)
    return sum(work.get(0, ())[:1] == (0,) and len(work[0]) != 2 for work in model.decodes)


def progress_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "progress.json").read_text("utf-8"))
    return found


# How much is scored


def test_all_are_scored_in_order(tmp_path: Path, whole: Record) -> None:
    heard: list[tuple[int, int]] = []
    found = run(tmp_path, 60, progress=lambda *it: heard.append(it))
    count = next(n for n in range(9) if sum(LENGTHS[:n]) >= 60)
    assert_same(found.record, whole.select(range(count)))
    assert (found.skipped, found.costs) == ((), COSTS) and found.seconds > 0
    assert heard == [(min(60, sum(LENGTHS[:n])), 60) for n in range(count + 1)]
    assert whole.ids == tuple(example.id for example in EXAMPLES) and len(whole) == sum(LENGTHS)


@examples(7)
@given(st.lists(st.integers(1, 90), min_size=1, max_size=4))
def test_any_budgets_one_after_the_other(
    tmp_path_factory: pytest.TempPathFactory, whole: Record, budgets: list[int]
) -> None:
    """A larger one adds, a smaller one selects, and nothing is read twice."""
    folder, pair = tmp_path_factory.mktemp("budgets"), make_pair()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passes, "_SAVE_EVERY_S", 0.0)
        patch.setattr(passes, "measure_costs", lambda *_: COSTS)
        for budget in budgets:
            found = run(folder, budget, pair=pair)
            count = next((n for n in range(9) if sum(LENGTHS[:n]) >= budget), 9)
            assert_same(found.record, whole.select(range(count)))
    most = max(budgets)
    assert scored_by(pair) == next((n for n in range(9) if sum(LENGTHS[:n]) >= most), 9)


def test_what_cannot_be_scored_is_left_out_and_named(tmp_path: Path) -> None:
    def make(example: Example) -> Text:
        if example.id == "n4":
            raise PromptError("The prompt template made failed: no.")
        return make_text(example)

    odd = [*EXAMPLES[:2], replace(EXAMPLES[2], response=""), *EXAMPLES[3:]]
    pair, found = make_pair(), None
    for budget in (10, 15, ALL, 10):
        found = run(tmp_path, budget, pair=pair, examples=odd, make=make)
        if budget == 15:
            assert found.skipped == ("The reply of n2 is empty: there is nothing to score.",)
        if budget == ALL:
            assert found.record.ids == ("n0", "n1", "n3", "n5", "n6", "n7", "n8")
            assert len(found.skipped) == 2 and "template" in found.skipped[1]
    assert found is not None and found.record.ids == ("n0", "n1") and found.skipped == ()


def test_where_nothing_can_be_scored(tmp_path: Path) -> None:
    empty = [replace(example, response="") for example in EXAMPLES[:2]]
    with pytest.raises(EvaluationError) as caught:
        run(tmp_path, examples=empty)
    said = (
        "None of the reference answers could be scored: The reply of n0 is empty: there is nothing to score."
    )
    assert str(caught.value) == said
    with pytest.raises(EvaluationError, match=r"could be scored\.$"):
        finish_pass(PassCheckpoint(tmp_path), 0, 5)


# Stopped


@pytest.mark.parametrize("after", range(1, 24, 5))
def test_cancelled_at_any_decode(tmp_path: Path, whole: Record, after: int) -> None:
    pair, cancellation = make_pair(n_batch=4), Cancellation()
    guide = pair.guide
    assert isinstance(guide, FakeModel)
    guide.before_decode = lambda number: cancellation.cancel() if number == after else None
    with pytest.raises(Cancelled):
        run(tmp_path, pair=pair, cancellation=cancellation)
    kept = PassCheckpoint.open(tmp_path)
    assert kept.tokens == LENGTHS[: len(kept.tokens)] and kept.costs is None
    before = scored_by(pair)
    guide.before_decode = lambda number: None
    assert_same(run(tmp_path, pair=pair).record, whole)
    assert scored_by(pair) - before == 9 - len(kept.tokens)


@pytest.mark.parametrize("error", [ModelError("It broke."), KeyboardInterrupt(), MemoryError()], ids=repr)
@pytest.mark.parametrize("every", [0.0, 1e9])
def test_whatever_ends_a_pass_what_was_scored_is_kept(
    tmp_path: Path, whole: Record, monkeypatch: pytest.MonkeyPatch, error: BaseException, every: float
) -> None:
    monkeypatch.setattr(passes, "_SAVE_EVERY_S", every)

    def make(example: Example) -> Text:
        if example.id == "n5":
            raise error
        return make_text(example)

    with pytest.raises(type(error)):
        run(tmp_path, make=make)
    assert PassCheckpoint.open(tmp_path).tokens == LENGTHS[:5]
    assert len(list(tmp_path.glob("part-*"))) == (5 if every == 0 else 1)
    assert_same(run(tmp_path).record, whole)


def test_stopped_while_the_costs_are_measured(
    tmp_path: Path, whole: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: Any) -> Costs:
        raise Cancelled

    with monkeypatch.context() as patch:
        patch.setattr(passes, "measure_costs", stopped)
        with pytest.raises(Cancelled):
            run(tmp_path)
    pair = make_pair()
    assert_same(run(tmp_path, pair=pair).record, whole)
    assert scored_by(pair) == 0


def test_costs_are_measured_on_the_longest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def see(pair: Pair, text: Text, *_: Any) -> Costs:
        seen.append(text.reply)
        return COSTS

    monkeypatch.setattr(passes, "measure_costs", see)
    run(tmp_path)
    assert seen == [max((example.response for example in EXAMPLES), key=len)]


def test_a_disk_that_is_full(tmp_path: Path, whole: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0
    write = save_record

    def full(*arguments: Any) -> None:
        nonlocal calls
        calls += 1
        if calls > 3:
            raise OSError(28, "No space left on device")
        write(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(passes, "save_record", full)
        with pytest.raises(OSError, match="No space"):
            run(tmp_path)
    assert PassCheckpoint.open(tmp_path).tokens == LENGTHS[:3]
    assert_same(run(tmp_path).record, whole)


KILLED = """
import sys
sys.path.insert(0, {tests!r})
import support.scoring_pass as t
from pathlib import Path
from blendin_local.tune import passes
passes._SAVE_EVERY_S = 0.0
passes.measure_costs = lambda *_: t.COSTS
print("begun", flush=True)
while True:
    t.run(Path({folder!r}), progress=lambda done, total: print(done, flush=True))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no signals there")
def test_killed_at_any_time(tmp_path: Path, whole: Record) -> None:
    """By the system, which asks nobody: what is on the disk then is whole, and less than what was heard of
    by at most one answer.
    """
    script = KILLED.format(tests=str(TESTS), folder=str(tmp_path / "kept"))
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    heard = [next(process.stdout) for _ in range(5)]
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert heard[0] == "begun\n"
    done = int(heard[-1])
    kept = PassCheckpoint.open(tmp_path / "kept")
    assert kept.tokens == LENGTHS[: len(kept.tokens)] and sum(kept.tokens) >= done - LENGTHS[2]
    found = run(tmp_path / "kept")
    assert_same(found.record, whole)


# Damaged


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"[]", b"null", b"{}", b"\xff\xfe", b'{"tokens": 3}', b"[" * 99_999,
        b'{"tokens": [Infinity], "skipped": [], "parts": [], "seconds": 0, "costs": null, "speed": ""}',
        b'{"tokens": [-5], "skipped": [], "parts": [], "seconds": 0, "costs": null, "speed": ""}',
        b'{"tokens": [0, 0], "skipped": ["x"], "parts": [], "seconds": 0, "costs": null, "speed": ""}',
        b'{"tokens": [7], "skipped": [], "parts": [["a", 1]], "seconds": "x", "costs": null, "speed": ""}',
    ],
)  # fmt: skip
def test_damaged_progress_begins_anew(tmp_path: Path, whole: Record, content: bytes) -> None:
    run(tmp_path, 20)
    (tmp_path / "progress.json").write_bytes(content)
    assert PassCheckpoint.open(tmp_path) == PassCheckpoint(tmp_path)
    assert_same(run(tmp_path).record, whole)


@pytest.mark.parametrize("part", [0, 4])
@pytest.mark.parametrize("how", ["missing", "cut", "foreign", "of others", "shorter"])
def test_damaged_parts_are_scored_again(tmp_path: Path, whole: Record, part: int, how: str) -> None:
    """The pass was lost to its user there: every run of the same command ended with the same complaint."""
    run(tmp_path)
    path = sorted(tmp_path.glob("part-*"))[part]
    match how:
        case "missing":
            path.unlink()
        case "cut":
            path.write_bytes(path.read_bytes()[:-40])
        case "foreign":
            path.write_text("hello")
        case "of others":
            save_record(made([LENGTHS[part] + 1]), path)
        case "shorter":
            save_record(whole.select([]), path)
    assert PassCheckpoint.open(tmp_path).tokens == LENGTHS[:part]
    pair = make_pair()
    assert_same(run(tmp_path, pair=pair).record, whole)
    assert scored_by(pair) == 9 - part
    again = make_pair()
    run(tmp_path, pair=again)
    assert scored_by(again) == 0


def test_a_damaged_part_between_answers_that_were_left_out(tmp_path: Path) -> None:
    odd = [replace(example, response="") if n in (0, 3, 8) else example for n, example in enumerate(EXAMPLES)]
    expected = run(tmp_path, examples=odd)
    sorted(tmp_path.glob("part-*"))[2].unlink()
    kept = PassCheckpoint.open(tmp_path)
    assert (kept.tokens, len(kept.skipped)) == ([0, *LENGTHS[1:3], 0], 2)
    found = run(tmp_path, examples=odd)
    assert_same(found.record, expected.record)
    assert found.skipped == expected.skipped and len(found.skipped) == 3


def test_begun_anew_and_killed_the_old_pass_is_still_whole(tmp_path: Path, whole: Record) -> None:
    """A new pass writes over the parts of the old one before it says so in `progress.json`."""
    run(tmp_path)
    fresh = PassCheckpoint(tmp_path)
    fresh.tokens += LENGTHS[:2]
    old = (tmp_path / "progress.json").read_bytes()
    fresh.add([whole.select([0]), whole.select([1])])
    (tmp_path / "progress.json").write_bytes(old)
    assert_same(run(tmp_path).record, whole)


def test_parts_say_what_is_in_them(tmp_path: Path) -> None:
    run(tmp_path, 20)
    names = [name for name, _ in progress_of(tmp_path)["parts"]]
    assert names[:2] == ["part-00000-00001.npz", "part-00001-00002.npz"]
    assert load_record(tmp_path / names[1]).ids == ("n1",)


# Whose folder


def test_costs_of_another_speed_are_measured_anew(tmp_path: Path) -> None:
    kept = PassCheckpoint(tmp_path, speed="one")
    run_pass(make_pair(), EXAMPLES, make_text, kept, budget=20)
    assert PassCheckpoint.open(tmp_path, "one").costs == COSTS
    other = PassCheckpoint.open(tmp_path, "other")
    assert other.costs is None and other.tokens == kept.tokens


def test_what_a_folder_belongs_to() -> None:
    options = ModelOptions()
    asked: tuple[Any, ...] = (["a", "b"], ["f", "g", "system"], EXAMPLES, "0.3", options)
    first = pass_key(*asked)
    assert first == pass_key(*asked) and len(first) == 32
    others: list[Any] = [
        (["b", "a"], *asked[1:]),
        (asked[0], ["f", "g", ""], *asked[2:]),
        (*asked[:2], EXAMPLES[::-1], *asked[3:]),
        (*asked[:2], [replace(EXAMPLES[0], response="x"), *EXAMPLES[1:]], *asked[3:]),
        (*asked[:2], [replace(EXAMPLES[0], messages=(Message("user", "x"),)), *EXAMPLES[1:]], *asked[3:]),
        (*asked[:3], "0.4", options),
        # What was too long for a small context is not left out of a larger one.
        *((*asked[:4], replace(options, **change)) for change in ({"n_ctx": 64}, {"kv_type": "q8_0"})),
        (*asked[:4], replace(options, flash_attention="off")),
    ]
    assert len({pass_key(*other) for other in others} | {first}) == len(others) + 1
    fast = replace(options, n_threads=8, mmap=False)
    assert pass_key(*(*asked[:4], fast)) == first
    assert speed_key(fast) != speed_key(options) == speed_key(replace(options, mmap=False))
