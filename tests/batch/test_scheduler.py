"""Continuous batching on tiny models: many rows at once give what each gives alone."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import asdict, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.batch_files import EXACT, answers, formats_of, row_of, run_of, scheduler_of, tiny_files
from support.nightly import some_of
from support.tiny_gguf import WINDOW

from blendin_local.batch import results
from blendin_local.batch.job import UntilDamaged
from blendin_local.batch.loops import find_loop
from blendin_local.batch.openai import batch_line, result_of
from blendin_local.batch.planning import parallel_options
from blendin_local.batch.results import Result
from blendin_local.batch.rows import BadRow, Row
from blendin_local.batch.scheduler import Scheduler
from blendin_local.engine.language_model import Cancellation
from blendin_local.engine.prompts import PLAIN_FORMATS, PromptFormat
from blendin_local.errors import BatchError
from blendin_local.methods import METHODS
from blendin_local.models.loading import PairFiles, load_pair
from blendin_local.settings import BlendSettings, GenerationSettings, SamplingSettings

HOT = SamplingSettings(temperature=0.9, top_k=30, repetition_penalty=1.1)
WORDS = "the of and to a in is it that was for on are with as his they be at one have this from".split()  # noqa: SIM905


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> PairFiles:
    return tiny_files(tmp_path_factory.mktemp("pair"))


def rows_for(settings: GenerationSettings, n: int, seed: int = 0) -> list[Row]:
    """Rows of all lengths; many begin alike, and some have settings of their own."""
    chance = random.Random(seed)
    stems = [" ".join(chance.choices(WORDS, k=k)) for k in (3, 12, 30)]
    rows = []
    for index in range(n):
        own: dict[str, Any] = {"max_tokens": chance.randint(1, 24)}
        if chance.random() < 0.2:
            own["gamma"] = chance.choice((0.0, 0.3, 1.0))
        if chance.random() < 0.2:
            own["temperature"] = 0.0
        tail = " ".join(chance.choices(WORDS, k=chance.randint(1, 8)))
        prompt = f"{chance.choice(stems)} {tail}" if chance.random() < 0.7 else tail
        if chance.random() < 0.3:
            prompt = f"{stems[2]} | {prompt}"
        rows.append(row_of(f"id {index}", prompt, settings, index, **own))
    return rows


def alike(left: Result, right: Result) -> None:
    """Equal in all that was chosen, and close in all that was measured."""
    assert (left["text"], left["finish_reason"]) == (right["text"], right["finish_reason"])
    for role in ("base", "guide"):
        for count in ("prompt_tokens", "generated_tokens"):
            assert left["usage"][role][count] == right["usage"][role][count]
    for a, b in zip(left["steps"], right["steps"], strict=True):
        assert a["outcome"] == b["outcome"] and a["source"] == b["source"]
        for figure in ("c_b", "c_g", "alpha", "agreement", "probability"):
            assert (a[figure] is None) == (b[figure] is None)
            assert a[figure] is None or a[figure] == pytest.approx(b[figure], abs=2e-3)


@pytest.mark.parametrize("method", some_of(["guide", "nudge", "blendin", "ensemble"], METHODS))
def test_many_rows_at_once_give_what_each_gives_alone(files: PairFiles, method: str) -> None:
    blend = BlendSettings(method=method, gamma=0.6, prior=0.5, unit="word" if method == "nudge" else "token")
    settings = GenerationSettings(blend=blend, sampling=HOT, seed=5, max_tokens=24)
    run = run_of(files, settings, with_steps=True)
    rows = rows_for(settings, 24, seed=len(method))
    alone = answers(files, run, rows, 1)
    # Whoever is beside a row, whichever sequence it takes over, and when it joins.
    for parallel, order in ((2, 1), (5, 2), (8, 3)):
        shuffled = random.Random(order).sample(rows, len(rows))
        together = answers(files, run, shuffled, parallel)
        assert together.keys() == alone.keys()
        for id, result in together.items():
            alike(result, alone[id])
            assert result["index"] == alone[id]["index"]


@pytest.mark.parametrize(
    ("arch", "options"),
    [
        ("gemma3", {"swa_full": True}),
        ("gemma3", {"swa_full": False}),
        ("mamba", {}),
        ("llama", {"n_batch": 16}),
    ],
    ids=["window", "narrow window", "recurrent", "small batches"],
)
def test_models_that_cannot_copy_or_go_back(tmp_path: Path, arch: Any, options: dict[str, Any]) -> None:
    files = tiny_files(tmp_path, arch=arch)
    # Greedy: a window's arithmetic is coarser, and a drawn number may fall between two roundings.
    settings = GenerationSettings(BlendSettings(gamma=0.6))
    run = run_of(files, settings, with_steps=True)
    rows = [replace(row, settings=replace(settings, max_tokens=2 * WINDOW)) for row in rows_for(settings, 10)]
    opened = replace(EXACT, **options)
    alone = answers(files, run, rows, 1, opened)
    for id, result in answers(files, run, rows, 4, opened).items():
        alike(result, alone[id])


def stripped(result: Result) -> Result:
    """Without the seconds it took, and what was decoded anew."""
    times = ("base_s", "guide_s", "blend_s", "base_decoded", "guide_decoded")
    steps = [{name: value for name, value in step.items() if name not in times} for step in result["steps"]]
    kept = ("text", "finish_reason", "summary", "row")
    return {name: result[name] for name in kept} | {"steps": steps}


@pytest.mark.parametrize("flash_attention", ["on", "off"])
def test_one_at_a_time_repeats_to_the_last_bit(files: PairFiles, flash_attention: str) -> None:
    """Whatever order, whatever came before: also with caches and batches that round coarsely."""
    options = replace(EXACT, kv_type="f16", flash_attention=flash_attention)
    settings = GenerationSettings(BlendSettings(gamma=0.6), HOT)
    run = run_of(files, settings, with_steps=True)
    rows = rows_for(settings, 16, seed=3)
    # Beginnings of several blocks, so that some are kept.
    rows += [
        row_of(f"long {n}", " ".join([*WORDS * 4, *WORDS[:n]]), settings, 16 + n, max_tokens=8)
        for n in range(6)
    ]
    first = answers(files, run, rows, 1, options)
    for order in range(2):
        again = answers(files, run, random.Random(order).sample(rows, len(rows)), 1, options)
        assert {id: stripped(result) for id, result in again.items()} == {
            id: stripped(result) for id, result in first.items()
        }
    decoded = [first[f"long {n}"]["usage"]["base"]["decoded_tokens"] for n in range(6)]
    assert max(decoded[1:]) < decoded[0] - 50


def test_a_row_that_joins_takes_the_place_of_one_that_left(files: PairFiles) -> None:
    """Rounds are counted: three rows of many steps beside many short ones take as long as the long ones."""
    settings = GenerationSettings(BlendSettings(method="base", guide_stop=False))
    run = run_of(files, settings)
    long = [row_of(f"long {n}", "the", settings, max_tokens=60, stop=[]) for n in range(2)]
    short = [row_of(f"short {n}", "the", settings, max_tokens=1) for n in range(40)]
    rounds = 0

    def count() -> None:
        nonlocal rounds
        rounds += 1

    with scheduler_of(files, run, 3, on_round=count) as scheduler:
        ids = [result["id"] for result in scheduler.answer([*long, *short])]
    assert sorted(ids) == sorted(row.id for row in (*long, *short))
    assert rounds <= 60 + 5
    # They leave as soon as they are over.
    assert ids[:30] == [f"short {n}" for n in range(30)]


def test_what_prompts_begin_with_is_decoded_once(files: PairFiles) -> None:
    settings = GenerationSettings(BlendSettings(gamma=1.0))
    system = " ".join(WORDS * 3)
    rows = [row_of(str(n), f"{system} | {word}", settings, max_tokens=4) for n, word in enumerate(WORDS)]
    found = answers(files, run_of(files, settings), rows, 6)
    for role in ("base", "guide"):
        usages = [result["usage"][role] for result in found.values()]
        prompt = usages[0]["prompt_tokens"]
        assert prompt > 60
        assert sum(usage["decoded_tokens"] for usage in usages) < 2 * prompt + 20 * len(rows)


def test_rows_that_cannot_be_answered_hold_up_no_other(files: PairFiles) -> None:
    settings = GenerationSettings(max_tokens=5)
    run = run_of(files, settings)
    rows: list[Row | BadRow] = [
        row_of("a", "hello", settings),
        BadRow("b", 1, "line 2", "It has no prompt."),
        row_of("c", "the " * 400, settings),
        BadRow("a", 3, "line 4", "The id is not new.", "duplicate id"),
        row_of("d", "the " * 230, settings, max_tokens=200),
        row_of("e", "world", settings),
    ]
    with scheduler_of(files, run, 2) as scheduler:
        found = list(scheduler.answer(rows))
        assert scheduler.active == 0
    errors = [(r["id"], r["error"] and r["error"]["kind"]) for r in sorted(found, key=lambda r: r["index"])]
    assert sorted(errors, key=str) == sorted(
        [("a", None), ("b", "bad row"), ("c", "too long"), ("a", "duplicate id"), ("d", None), ("e", None)],
        key=str,
    )
    too_long, last = (next(r for r in found if r["id"] == id) for id in "cd")
    assert "256" in too_long["error"]["message"]
    assert last["finish_reason"] in ("context", "stop", "stop string")


def test_only_a_prompt_that_overflows_a_context_is_too_long(files: PairFiles) -> None:
    settings = GenerationSettings(max_tokens=5)
    run = run_of(files, settings)
    refusing = PromptFormat("mine", "{{ raise_exception('Roles must alternate.') }}")
    pair = load_pair(files, parallel_options(EXACT, 1))
    try:
        scheduler = Scheduler(pair, formats_of(files) | {"guide": refusing}, run, 1)
        (result,) = scheduler.answer([row_of("a", "hello", settings)])
    finally:
        pair.close()
    assert result["error"]["kind"] == "bad row"
    assert "Roles must alternate" in result["error"]["message"]
    assert result["row"], "mended or not, the row is the same"


def test_raw_text_is_continued_as_it_stands(files: PairFiles) -> None:
    """Of a row that says so, in both models, whatever the run's prompt formats."""
    settings = GenerationSettings(BlendSettings(gamma=1.0, guide_stop=False), max_tokens=8)
    run = run_of(files, settings)
    chat = row_of("chat", "once upon a time", settings)
    raw = replace(row_of("raw", "once upon a time", settings, 1), raw=True)
    long = replace(row_of("long", "the " * 400, settings, 2), raw=True)
    found = answers(files, run, [chat, raw, long], 3)
    with scheduler_of(files, run, 1) as scheduler:
        pair = scheduler._pair
        bare = Scheduler(pair, dict.fromkeys(("base", "guide"), PLAIN_FORMATS["raw"]), run, 1)
        (wanted,) = bare.answer([row_of("raw", "once upon a time", settings, 1)])
    assert found["raw"]["text"] == wanted["text"] != found["chat"]["text"]
    for role in ("base", "guide"):
        n_tokens = [
            result["usage"][role]["prompt_tokens"] for result in (found["raw"], wanted, found["chat"])
        ]
        assert n_tokens[0] == n_tokens[1] < n_tokens[2]
    assert found["raw"]["raw"] is True and "raw" not in found["chat"] and "raw" not in wanted
    assert found["long"]["raw"] is True and found["long"]["error"]["kind"] == "too long"
    for result in found.values():
        assert next(iter(result)) == "id"
        line = json.loads(json.dumps(batch_line(result)))
        assert result_of(line) == json.loads(json.dumps(result))
        if not result["error"]:
            object = line["response"]["body"]["object"]
            assert object == ("text_completion" if result["id"] == "raw" else "chat.completion")


def test_an_answer_says_whether_it_goes_in_circles(files: PairFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found once, for whoever reads the output again."""
    loop = find_loop("and on " * 50)
    assert loop
    monkeypatch.setattr(results, "find_loop", lambda text: loop if len(text) > 50 else None)
    settings = GenerationSettings(BlendSettings(method="base", guide_stop=False))
    rows = [row_of(str(n), "the", settings, max_tokens=n) for n in (1, 100)]
    found = answers(files, run_of(files, settings), [*rows, BadRow("bad", 2, "line 3", "It is bad.")], 2)
    assert found["100"]["loop"] == asdict(loop) and found["1"]["loop"] is None
    assert "loop" not in found["bad"]


def test_a_model_that_fails_at_one_row_fails_at_no_other(
    files: PairFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = GenerationSettings(BlendSettings(method="base"), max_tokens=6)
    run = run_of(files, settings)
    rows = [row_of(str(n), word, settings, n) for n, word in enumerate(WORDS[:9])]
    expected = answers(files, run, rows, 3)
    pair = load_pair(files, parallel_options(EXACT, 3))
    logits = pair.base.logits

    def spoilt(seq: int) -> Any:
        poison = pair.base.tokenize(b" " + WORDS[4].encode())[-1]
        found = logits(seq)
        return np.full_like(found, np.nan) if poison in pair.base.cached(seq) else found

    monkeypatch.setattr(pair.base, "logits", spoilt)
    try:
        found = {r["id"]: r for r in Scheduler(pair, formats_of(files), run, 3).answer(rows)}
    finally:
        pair.close()
    assert found.keys() == expected.keys()
    failed = {id for id, result in found.items() if result["error"]}
    assert "4" in failed and len(failed) < 9
    assert all(found[id]["error"]["kind"] == "model" for id in failed)
    for id in found.keys() - failed:
        assert found[id]["text"] == expected[id]["text"]


def test_rows_that_arrive_late_hold_up_no_other(files: PairFiles) -> None:
    settings = GenerationSettings(BlendSettings(method="base", guide_stop=False))
    run = run_of(files, settings)
    asked = 0

    def slowly() -> Iterator[Row | None]:
        nonlocal asked
        yield row_of("first", "the", settings, max_tokens=20)
        for _ in range(40):
            asked += 1
            yield None
        yield row_of("last", "the", settings, max_tokens=2)

    with scheduler_of(files, run, 2) as scheduler:
        results = scheduler.answer(slowly())
        assert next(results)["id"] == "first"
        # It was written while the second was waited for.
        assert 0 < asked < 30
        assert [result["id"] for result in results] == ["last"]


def test_cancelled_rows_have_no_result(files: PairFiles) -> None:
    settings = GenerationSettings(BlendSettings(method="base", guide_stop=False), max_tokens=200)
    run = run_of(files, settings)
    cancellation = Cancellation()
    rows = chain(
        [row_of("short", "the", settings, max_tokens=2)],
        (row_of(str(n), "the", settings) for n in range(10**6)),
    )
    with scheduler_of(files, run, 3, cancellation=cancellation) as scheduler:
        found = []
        for result in scheduler.answer(rows):
            found.append(result["id"])
            cancellation.cancel()
        assert found == ["short"]
        assert scheduler.active == 0


def test_rows_that_cannot_be_answered_do_not_hold_up_a_cancellation(files: PairFiles) -> None:
    settings = GenerationSettings(max_tokens=2)
    run = run_of(files, settings)
    cancellation = Cancellation()
    taken = 0

    def endless() -> Iterator[Row | BadRow]:
        nonlocal taken
        for taken in range(100):
            if taken == 10:
                cancellation.cancel()
            bad = BadRow(f"bad {taken}", taken, f"line {taken}", "It has no prompt.")
            yield row_of(f"long {taken}", "the " * 400, settings, taken) if taken % 2 else bad

    with scheduler_of(files, run, 2, cancellation=cancellation) as scheduler:
        found = list(scheduler.answer(endless()))
    assert taken == 10 and len(found) == 11


def test_rows_under_way_are_answered_where_the_input_cannot_be_read_on(files: PairFiles) -> None:
    settings = GenerationSettings(BlendSettings(method="base", guide_stop=False))
    run = run_of(files, settings)

    def damaged() -> Iterator[Row]:
        yield row_of("long", "the", settings, max_tokens=30)
        yield row_of("short", "the", settings, max_tokens=2)
        raise BatchError("The input is cut off.")

    rows = UntilDamaged(damaged())
    with scheduler_of(files, run, 4) as scheduler:
        assert [result["id"] for result in scheduler.answer(rows)] == ["short", "long"]
    assert str(rows.damage) == "The input is cut off."
