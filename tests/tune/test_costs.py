"""Costs of decodes: arithmetic by hand, and measured on tiny models."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fakes import FakeModel, dreaming, prompt_of, reciting, words_and_bytes
from support.tiny_gguf import write_tiny

from blendin_local.engine.language_model import Cancellation
from blendin_local.engine.pair import Pair, pair_models
from blendin_local.engine.prompts import Prompt
from blendin_local.errors import EvaluationError
from blendin_local.llamacpp.model import open_model
from blendin_local.settings import ModelOptions
from blendin_local.tune import costs as measuring
from blendin_local.tune.alignment import Text
from blendin_local.tune.costs import Costs, measure_costs
from blendin_local.tune.scoring import Cancelled

COSTS = Costs(base_s=0.02, guide_s=((1, 0.01), (4, 0.016), (8, 0.020)), base_only_s=0.001, blend_s=0.002)


def test_seconds_by_hand() -> None:
    found = COSTS.guide_seconds([1, 2, 4, 6, 8, 12])
    assert found.tolist() == pytest.approx([0.010, 0.012, 0.016, 0.018, 0.020, 0.024])
    assert float(COSTS.guide_seconds(1)) == 0.01
    assert float(COSTS.guide_seconds(0)) == 0.01, "a decode has at least one token"
    assert COSTS.guide_seconds(np.zeros((2, 3))).shape == (2, 3)


def test_beyond_the_only_size_seconds_grow_in_proportion() -> None:
    costs = replace(COSTS, guide_s=((2, 0.01),))
    assert costs.guide_seconds([1, 2, 3]).tolist() == pytest.approx([0.01, 0.01, 0.015])


def test_falling_seconds_never_become_negative() -> None:
    costs = replace(COSTS, guide_s=((1, 0.03), (2, 0.01)))
    assert float(costs.guide_seconds(1000)) == pytest.approx(0.01)


some_costs = st.builds(
    lambda sizes, seconds, others: Costs(
        others[0], tuple(zip(sorted(sizes), sorted(seconds), strict=False)), *others[1:]
    ),
    st.sets(st.integers(1, 64), min_size=1, max_size=5),
    st.lists(st.floats(0, 1), min_size=5, max_size=5),
    st.tuples(*[st.floats(0, 1)] * 3),
)


@given(some_costs, st.lists(st.integers(0, 200), min_size=2))
def test_more_tokens_never_cost_less(costs: Costs, tokens: list[int]) -> None:
    seconds = costs.guide_seconds(sorted(tokens))
    assert np.all(np.diff(seconds) >= -1e-12) and np.all(seconds >= 0)


@given(some_costs)
def test_written_and_read_again(costs: Costs) -> None:
    assert Costs.from_dict(json.loads(json.dumps(costs.as_dict()))) == costs


@pytest.mark.parametrize(
    "change",
    [
        {"guide_s": []},
        {"guide_s": [[1]]},
        {"guide_s": 3},
        {"guide_s": [[2, 0.1], [1, 0.2]]},
        {"guide_s": [[0, 0.1]]},
        {"guide_s": [[1, math.nan]]},
        {"base_s": math.inf},
        {"base_s": -1},
        {"blend_s": None},
        {"base_only_s": "fast"},
    ],
    ids=str,
)
def test_what_are_no_costs(change: dict[str, Any]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        Costs.from_dict({**COSTS.as_dict(), **change})


def test_costs_of_less_than_all() -> None:
    for name in COSTS.as_dict():
        values = COSTS.as_dict()
        values.pop(name)
        with pytest.raises(KeyError):
            Costs.from_dict(values)


# Measured


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("costs")
    options = ModelOptions(n_ctx=256, n_threads=1, n_seq=3, n_outputs=8, shared_cache=True)
    base = write_tiny(folder / "base.gguf", vocabulary="spm")
    guide = write_tiny(folder / "guide.gguf", vocabulary="bpe", seed=1)
    with closing(open_model(base, options)) as one, closing(open_model(guide, options)) as other:
        yield pair_models(one, other)


def text_of(pair: Pair, reply: str) -> Text:
    base, guide = (model.tokenize(b"The people say", continuation=False) for model in (pair.base, pair.guide))
    return Text("it", Prompt(base, b""), Prompt(guide, b""), reply)


def test_measured_on_tiny_files(tiny: Pair) -> None:
    costs = measure_costs(
        tiny, text_of(tiny, "hello world, the people of the world are many and small, more or less")
    )
    assert [size for size, _ in costs.guide_s] == [1, 2, 4, 8, 16]
    seconds = [each for _, each in costs.guide_s]
    assert seconds[0] > 0 and seconds == sorted(seconds) and seconds[-1] < 10
    assert 0 < costs.base_s < 10 and 0 < costs.base_only_s < 1 and 0 <= costs.blend_s < 1
    assert Costs.from_dict(costs.as_dict()) == costs


def test_a_short_text_has_the_sizes_that_there_are() -> None:
    vocabulary = words_and_bytes()
    pair = pair_models(
        FakeModel(vocabulary, dreaming(vocabulary, 0)), FakeModel(vocabulary, dreaming(vocabulary, 1))
    )
    costs = measure_costs(pair, Text("it", prompt_of(), prompt_of(), "ab"))
    assert [size for size, _ in costs.guide_s] == [1, 2]


def test_sizes_are_those_of_the_decodes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that goes on by a second for each token of a decode shows what was decoded in between."""
    vocabulary = words_and_bytes()
    base = FakeModel(vocabulary, dreaming(vocabulary, 0), name="base")
    guide = FakeModel(vocabulary, reciting(vocabulary, b"x"), name="guide")
    monkeypatch.setattr(measuring, "perf_counter", lambda: float(base.decoded + 10 * guide.decoded))
    costs = measure_costs(pair_models(base, guide), Text("it", prompt_of(3), prompt_of(3), "a" * 40))
    assert costs.base_s == 1.0
    assert costs.guide_s == ((1, 10.0), (2, 20.0), (4, 40.0), (8, 80.0), (16, 160.0))


def test_a_context_that_is_too_short(tmp_path: Path) -> None:
    vocabulary = words_and_bytes()
    pair = pair_models(
        FakeModel(vocabulary, dreaming(vocabulary, 0)),
        FakeModel(vocabulary, dreaming(vocabulary, 1), name="guide", n_ctx=8),
    )
    with pytest.raises(EvaluationError, match=r"The speed of guide cannot be measured: .* too short\.$"):
        measure_costs(pair, Text("it", prompt_of(), prompt_of(), "abcdefghijkl"))


def test_cancelled(tiny: Pair) -> None:
    """It used to answer with the seconds of no steps, which were kept as the pair's."""
    cancellation = Cancellation()
    cancellation.cancel()
    text = text_of(tiny, "hello world, the people of the world")
    with pytest.raises(Cancelled):
        measure_costs(tiny, text, cancellation)
    assert measure_costs(tiny, text).base_only_s > 0
