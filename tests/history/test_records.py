"""Records as JSON: exact there and back, and readable by older and newer versions."""

from __future__ import annotations

import json
import zlib
from dataclasses import fields, replace
from typing import get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.conversations import SETUP, values_of
from support.fakes import FakeModel, dreaming, prompt_of, words_and_bytes

from blendin_local.engine.blended_response import Request, respond
from blendin_local.engine.decoder import decode
from blendin_local.engine.pair import pair_models
from blendin_local.engine.steps import Source, Step, Summary
from blendin_local.errors import HistoryError
from blendin_local.formats import Formats
from blendin_local.history import records
from blendin_local.history.records import decode_setup, decode_steps, encode_setup, encode_steps
from blendin_local.history.tree import Turn
from blendin_local.settings import BlendSettings, GenerationSettings, SamplingSettings

STEPS = st.lists(
    st.builds(Step, **{name: values_of(kind) for name, kind in get_type_hints(Step).items()}), max_size=5
)


@given(STEPS)
def test_steps_come_back_as_they_were(steps: list[Step]) -> None:
    assert decode_steps(encode_steps(steps)) == steps


def written() -> list[Step]:
    """Steps as the engine makes them, with all that it may measure."""
    vocabulary = words_and_bytes("one two three")
    pair = pair_models(*(FakeModel(vocabulary, dreaming(vocabulary, seed)) for seed in (1, 2)))
    settings = GenerationSettings(BlendSettings(gamma=0.9), SamplingSettings(temperature=1.0), max_tokens=24)
    response = respond(pair, Request(prompt_of(), prompt_of(), settings, (), 8))
    return [step for _, step in decode(pair, [response])]


def test_steps_of_the_engine_come_back_as_they_were() -> None:
    steps = written()
    back = decode_steps(encode_steps(steps))
    assert back == steps
    assert any(step.intervened for step in back)
    assert records.summarize(back).as_dict() == records.summarize(steps).as_dict()


def test_columns_of_another_version_are_passed_over_and_missing_ones_take_their_defaults() -> None:
    columns = {"text": ["a", "b"], "source": ["guide", "oracle"], "c_b": [0.5, None], "novel": [1, 2]}
    first, second = decode_steps(zlib.compress(json.dumps(columns).encode()))
    assert first == Step(index=0, data=b"", text="a", source=Source.GUIDE, c_b=0.5)
    assert second == Step(index=1, data=b"", text="b", source=Source.BASE)


def test_half_a_chunk_is_an_error() -> None:
    with pytest.raises(HistoryError, match="damaged"):
        decode_steps(encode_steps(written())[:-20])


def test_a_setup_comes_back_as_it_was() -> None:
    assert decode_setup(encode_setup(SETUP)) == SETUP


def test_a_setup_of_another_version_keeps_what_is_known() -> None:
    values = json.loads(encode_setup(SETUP))
    values["novel"] = {"deep": 1}
    values["settings"]["blend"]["method"] = "oracle"
    values["settings"]["sampling"]["temperature"] = "hot"
    values["formats"] = None
    del values["settings"]["seed"]
    settings = replace(
        SETUP.settings,
        blend=BlendSettings(prior=-1.75),
        sampling=SamplingSettings(),
        seed=0,
    )
    assert decode_setup(json.dumps(values)) == replace(SETUP, settings=settings, formats=Formats())


def test_figures_come_back_with_what_their_means_are_made_of() -> None:
    steps = written()
    summary = records.summarize(steps, kept=4)
    summary.timings.total_s = 0.1 + 0.2
    back = records.decode_summary(json.loads(records.dumps(records.encode_summary(summary))))
    assert back == summary
    assert back.kept == 4
    assert all(type(source) is Source for source in back.sources)
    # A reply that goes on later goes on from the same sums.
    for each in (summary, back):
        each.add(steps[-1])
    assert back == summary


def test_figures_of_another_version_keep_what_is_known() -> None:
    values = {"steps": 3, "novel": 1, "sources": {"guide": 1, "oracle": 2}, "finish_reason": "bored"}
    assert records.decode_summary(values) == Summary(
        steps=3, sources=type(Summary().sources)({Source.GUIDE: 1, Source.BASE: 2})
    )


def test_every_field_of_a_turn_is_kept_somewhere() -> None:
    """A new field must be thought of: a column of the database, or one of the details."""
    columns = {"id", "parent", "role", "text", "created", "setup", "steps"}
    turn = Turn("assistant", finish_reason="length", error="e", forked_from="f", fork=2, dropped=3)
    turn.models, turn.calibrated = {"base": "b"}, True
    turn.summary = records.summarize(written())
    assert set(json.loads(records.encode_details(turn))) | columns == {field.name for field in fields(Turn)}
    back = Turn("assistant", id=turn.id, created=turn.created)
    records.decode_details(back, records.encode_details(turn))
    assert all(getattr(back, field.name) == getattr(turn, field.name) for field in fields(Turn))
