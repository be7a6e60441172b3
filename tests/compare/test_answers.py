"""What a comparison keeps: found again under the same key, and under no other."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.compare_fakes import answer_of, blend, item_of, model_of, single

from blendin_local.compare import writing
from blendin_local.compare.answers import Answers, digest
from blendin_local.compare.arms import Arm
from blendin_local.engine.prompts import PLAIN_FORMATS, Message
from blendin_local.errors import EvaluationError
from blendin_local.settings import (
    FLASH_ATTENTION,
    KV_TYPES,
    BlendSettings,
    GenerationSettings,
    ModelOptions,
    SamplingSettings,
)
from blendin_local.tune.record import empty_record

BASE, GUIDE = single("base"), single("guide", "guide")
PAIR = blend(BASE, GUIDE)
ITEM = item_of("1")


@pytest.fixture
def answers(tmp_path: Path) -> Any:
    opened = Answers(tmp_path / "cache" / "answers.db")
    yield opened
    opened.close()


def key_of(
    arm: Arm = PAIR,
    item: Any = ITEM,
    settings: GenerationSettings | None = None,
    options: ModelOptions | None = None,
) -> str:
    return writing.answer_key(arm, item, settings or arm.settings, options or ModelOptions())


OTHERS: dict[str, Any] = {
    "method": "nudge",
    "unit": "word",
    "kv_type": KV_TYPES[0],
    "flash_attention": FLASH_ATTENTION[1],
    "stop": ("\n",),
    "max_tokens": 7,
    "blend": BlendSettings(gamma=0.1),
    "sampling": SamplingSettings(temperature=0.1),
    "tensor_split": "3,1",
    "device": "CUDA1",
    "base_options": {"n_ctx": 8},
    "guide_options": {"n_ctx": 8},
}


def changed(settings: Any, name: str) -> Any:
    """The same settings with another value of one field."""
    value = getattr(settings, name)
    if name in OTHERS:
        return replace(settings, **{name: OTHERS[name]})
    if isinstance(value, bool):
        return replace(settings, **{name: not value})
    others = (value + 1, value + 0.25, value - 0.25) if isinstance(value, float) else (value + 1,)
    for other in others:
        try:
            return replace(settings, **{name: other})
        except Exception:
            continue
    raise AssertionError(name)


@pytest.mark.parametrize("cls", [BlendSettings, SamplingSettings, GenerationSettings, ModelOptions])
def test_every_setting_changes_the_key(cls: type) -> None:
    # A seed counts where it draws something, a setting under the method to which it belongs.
    sampling = SamplingSettings(temperature=0.5)
    usual = replace(PAIR.settings, sampling=sampling)
    methods = {"alpha": "fixed", "prior": "tuned", "compete_k": "compete", "tau": "tiered"}
    names = [field.name for field in fields(cls) if field.name not in ("explicit", "max_thinking")]
    keys = set()
    for name in names:
        settings, options = usual, ModelOptions()
        if cls is BlendSettings and name in methods:
            settings = replace(settings, blend=replace(settings.blend, method=methods[name]))
        plain = key_of(settings=settings, options=options)
        if cls is BlendSettings:
            settings = replace(settings, blend=changed(settings.blend, name))
        elif cls is SamplingSettings:
            settings = replace(settings, sampling=changed(settings.sampling, name))
        elif cls is GenerationSettings:
            settings = changed(settings, name)
        else:
            options = changed(options, name)
        key = key_of(settings=settings, options=options)
        assert key != plain, name
        keys.add(key)
    assert len(keys) == len(names)


@pytest.mark.parametrize(
    ("method", "other"),
    [
        ("blendin", {"alpha": 0.9, "prior": -1.0, "compete_k": 3, "tau": 0.1}),
        ("ensemble", {"gamma": 0.1, "capability_gap": 0.2, "alpha": 0.9}),
        ("base", {"gamma": 0.1, "unit": "word", "guide_stop": False}),
    ],
)
def test_settings_without_effect_do_not_change_the_key(method: str, other: Any) -> None:
    settings = replace(PAIR.settings, blend=BlendSettings(method=method))
    same = replace(settings, blend=replace(settings.blend, **other), seed=77)
    assert key_of(settings=settings) == key_of(settings=same)


def test_models_formats_messages_and_versions_change_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    assert PAIR.base and PAIR.guide
    other_format = replace(PAIR.guide, format=PLAIN_FORMATS["user-assistant"])
    other_template = replace(PAIR.guide, format=replace(PAIR.guide.format, template="{{ messages }}"))
    keys = [
        key_of(),
        key_of(replace(PAIR, base=model_of("another"))),
        key_of(replace(PAIR, guide=model_of("another"))),
        key_of(replace(PAIR, base=PAIR.guide, guide=PAIR.base)),
        key_of(replace(PAIR, guide=other_format)),
        key_of(replace(PAIR, guide=other_template)),
        key_of(BASE),
        key_of(item=item_of("1", "another question")),
        key_of(item=replace(ITEM, messages=(Message("system", "be brief"), *ITEM.messages))),
    ]
    monkeypatch.setattr(writing, "versions", lambda: {"blendin_local": "9", "llama_cpp_python": "9"})
    keys.append(key_of())
    assert len(set(keys)) == len(keys)


def test_names_of_arms_models_and_items_do_not() -> None:
    """Renamed files, arms and questions find their answers again."""
    assert PAIR.base
    renamed = replace(PAIR, name="else", pair="else", base=replace(PAIR.base, name="else"))
    assert key_of(renamed, replace(ITEM, id="else", answer="else")) == key_of()


@given(st.floats(0, 1), st.floats(0, 1), st.integers(0, 1 << 40), st.integers(0, 1 << 40))
def test_keys_are_equal_exactly_where_settings_are(a: float, b: float, seed: int, other: int) -> None:
    def key(gamma: float, seed: int) -> str:
        drawn = SamplingSettings(temperature=1.0)
        return key_of(settings=GenerationSettings(BlendSettings(gamma=gamma), drawn, seed=seed))

    assert (key(a, seed) == key(b, other)) == (a == b and seed == other)


def test_the_order_of_keys_does_not_matter() -> None:
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1})
    with pytest.raises(ValueError):
        digest({"a": float("nan")})


def test_an_answer_is_read_as_it_was_kept(answers: Answers) -> None:
    kept = answer_of("é \ud800 \0", ranks=(0, 3), masses=(0.0, 0.25), words=2)
    answers.save_answer("key", kept)
    assert answers.answer("key") == kept
    assert answers.answer("other") is None
    again = Answers(answers.path)
    assert again.answer("key") == kept
    again.close()


def test_fresh_answers_are_written_but_not_read(answers: Answers) -> None:
    answers.save_answer("key", answer_of("old"))
    fresh = Answers(answers.path, fresh=True)
    assert fresh.answer("key") is None
    fresh.save_answer("key", answer_of("new"))
    fresh.close()
    found = answers.answer("key")
    assert found and found.text == "new"


def test_a_record_and_a_judgement_are_kept(answers: Answers) -> None:
    assert answers.record("key") is None
    answers.save_record("key", empty_record())
    found = answers.record("key")
    assert found is not None and len(found) == 0 and found.p_base.dtype == np.float32
    answers.save_judgement("key", {"value": 4.0})
    assert answers.judgement("key") == {"value": 4.0}
    assert answers.measurement("key") is None


def test_what_cannot_be_read_counts_as_missing(answers: Answers) -> None:
    for kind in ("answer", "record", "measurement"):
        answers._put(kind, "key", b"rubbish")
    answers._save_plain("answer", "older", {"text": "of another version"})
    assert (answers.answer("key"), answers.record("key"), answers.measurement("key")) == (None, None, None)
    assert answers.answer("older") is None


def test_a_file_that_is_no_database_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "answers.db").write_bytes(b"no database " * 100)
    with pytest.raises(EvaluationError, match=r"results, .*answers\.db, cannot be used .*: move it away"):
        Answers(tmp_path / "answers.db")
    (tmp_path / "file").write_text("x")
    with pytest.raises(EvaluationError, match="cannot be saved in"):
        Answers(tmp_path / "file" / "answers.db")


_WRITER = """
import sys
from pathlib import Path
from blendin_local.compare import writing
from blendin_local.compare.answers import Answer, Answers
opened = Answers(Path(sys.argv[1]))
for number in range(20):
    opened.save_answer(f"{sys.argv[2]} {number}", Answer("text", "stop", {}, {}, {}))
opened.close()
"""


def test_two_programs_write_at_once(tmp_path: Path) -> None:
    path = str(tmp_path / "answers.db")
    writers = [subprocess.Popen([sys.executable, "-c", _WRITER, path, name]) for name in ("a", "b")]
    assert [writer.wait() for writer in writers] == [0, 0]
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT count(*) FROM kept").fetchone() == (40,)


def test_random_numbers_are_the_questions_own() -> None:
    """Not the arm's, nor the same for all questions."""
    from support.compare_fakes import run_of

    items = [item_of("1"), item_of("2")]
    made = run_of(items, max_tokens=9)
    seeds = {
        (arm.name, item.id, seed): writing.settings_for(arm, made, item, seed)
        for arm in (BASE, PAIR)
        for item in items
        for seed in (0, 1)
    }
    assert all(each.max_tokens == 9 for each in seeds.values())
    assert len({each.seed for each in seeds.values()}) == 4
    assert asdict(seeds["base", "1", 0])["seed"] == asdict(seeds[PAIR.name, "1", 0])["seed"]
