"""Replies that go on from the steps of others, and outcomes that a user chose."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.decoding import (
    asked,
    dreamers,
    fake,
    hesitant_pair,
    id_of,
    joined,
    newline_byte,
    reciters,
    run,
    scripted,
    settled,
    stopping_guide,
    vocabulary_pairs,
)
from support.examples import examples
from support.fakes import FakeModel, prompt_of, reciting, vocabularies, words_and_bytes

from blendin_local.engine.decoder import Request, Response, decode, respond
from blendin_local.engine.language_model import Cancellation
from blendin_local.engine.pair import Pair, pair_models
from blendin_local.engine.steps import Candidate, Source, Step, Summary, Timings
from blendin_local.engine.vocabulary import Vocabulary, is_text
from blendin_local.errors import ModelError
from blendin_local.methods import METHODS
from blendin_local.settings import SamplingSettings

STOPS = ("\n\nQuestion:",)
TEXT = "the 🧀 aaaa.\n\nQuest é 日本 the end"
"""Recited in half characters, in tokens that only the guide has, with a stop string that is none."""

PENALTIES = SamplingSettings(repetition_penalty=1.5, presence_penalty=0.3, dry_multiplier=1.0)


def onward(
    request: Request, prefix: Sequence[Step], forced_outcome: int | None = None, **changes: Any
) -> Request:
    """The same request, to go on from a prefix with what is left of its token limit."""
    left = max(1, request.settings.max_tokens - len(prefix))
    generation = replace(request.settings, max_tokens=left)
    return replace(
        request, settings=generation, prefix=tuple(prefix), forced_outcome=forced_outcome, **changes
    )


def uncounted(steps: Sequence[Step]) -> list[Step]:
    """Steps without what a clock says and without what had to be decoded."""
    return [replace(step, base_decoded=0, guide_decoded=0) for step in settled(steps)]


def check_every_branch(pair: Pair, request: Request) -> list[Step]:
    """Going on from the first k steps gives the others, for every k; returns them all."""
    whole, steps = run(pair, request)
    for k in range(len(steps)):
        response, rest = run(pair, onward(request, steps[:k]))
        assert uncounted(rest) == uncounted(steps[k:]), k
        assert response.prefix == tuple(steps[:k])
        assert (response.text, response.tokens) == (whole.text, whole.tokens)
        assert response.finish_reason == whole.finish_reason
        assert response.summary.as_dict() == whole.summary.as_dict()
        assert response.summary.kept == k
    return steps


def user_wrote(text: str, index: int = 0) -> Step:
    return Step(index=index, data=text.encode(), text=text, source=Source.USER)


# The law


@pytest.mark.parametrize("method", METHODS)
@examples(5)
@given(st.tuples(*[vocabularies(ends=1)] * 2), st.integers(0, 1 << 20), st.data())
def test_going_on_gives_the_remaining_steps(
    method: str, models: tuple[Vocabulary, Vocabulary], seed: int, data: st.DataObject
) -> None:
    """Inside characters, words of the guide and stop strings, with leads and penalties."""
    leads = st.sampled_from((b"", b" "))
    greedy, penalised = SamplingSettings(), PENALTIES
    # The best of one candidate is drawn whatever the random numbers.
    drawn = replace(PENALTIES, temperature=1.0, top_k=1)
    request = asked(
        prompt_of(2, data.draw(leads)),
        prompt_of(1, data.draw(leads)),
        method=method,
        gamma=data.draw(st.sampled_from((0.3, 0.6, 1.0))),
        unit=data.draw(st.sampled_from(("token", "word"))),
        guide_stop=data.draw(st.booleans()),
        sampling=data.draw(st.sampled_from((greedy, penalised, drawn))),
        stops=data.draw(st.sampled_from(((), ("ab ",), ("\no", "oo.b")))),
        max_tokens=8,
        candidates=2,
    )
    check_every_branch(dreamers(*models, seed, spread=1.0), request)


@pytest.mark.parametrize("unit", ["token", "word"])
@pytest.mark.parametrize("method", METHODS)
def test_going_on_inside_characters_and_stop_strings(method: str, unit: str) -> None:
    pair = reciters(TEXT, 0.3)
    steps = check_every_branch(pair, asked(method=method, unit=unit, stops=STOPS, guide_stop=True))
    assert joined(steps) == TEXT
    assert any(not is_text(step.data) for step in steps) or method == "guide"
    if method in ("nudge", "blendin"):
        assert any(step.outcome >= len(pair.base.vocabulary) for step in steps[:-1])


def test_a_word_of_the_guide_goes_on_after_half_a_character() -> None:
    """The base wrote the half character inside it: the latest step alone looks like the base's."""
    vocabulary, guide = words_and_bytes([b"n\xc3"]), words_and_bytes([b"n\xc3"])
    text = "né!".encode()
    base = FakeModel(vocabulary, lambda tokens: reciting(vocabulary, text, confidence=sure(tokens))(tokens))

    def sure(tokens: tuple[int, ...]) -> float:
        return 0.9 if vocabulary.decode(tokens) else 0.3

    pair = pair_models(base, FakeModel(guide, reciting(guide, text)))
    steps = check_every_branch(pair, asked(method="nudge", unit="word"))
    assert [step.intervened for step in steps] == [True, False, True, False]


def test_a_first_step_that_was_only_the_space_after_the_prompt() -> None:
    pair = scripted(("_x", {"": {" ": 0.3}, " ": {" x": 0.3}}), ("x _x", {"": {" ": 0.8}, " ": {" x": 0.8}}))
    steps = check_every_branch(pair, asked(prompt_of(1, b" "), prompt_of(1, b" "), max_tokens=3))
    assert [step.data for step in steps[:2]] == [b"", b" x"]


@pytest.mark.parametrize("unit", ["token", "word"])
def test_interventions_before_count_for_the_cap(unit: str) -> None:
    request = asked(method="nudge", unit=unit, max_intervention_rate=0.25, max_tokens=90)
    steps = check_every_branch(hesitant_pair(), request)
    assert {step.intervened for step in steps[21:]} == {True, False}


def test_under_a_temperature_the_random_numbers_begin_anew() -> None:
    """So a reply that goes on is as reproducible as any, but no copy of the one that it leaves."""
    pair = scripted(("", {"": {"a": 0.5, "b": 0.5}}), ("", {"": {"a": 0.5, "b": 0.5}}))
    request = asked(sampling=SamplingSettings(temperature=1), max_tokens=20)
    _, steps = run(pair, request)
    branches = [run(pair, onward(request, steps[:10]))[1] for _ in range(2)]
    assert joined(branches[0]) == joined(branches[1]) == joined(steps)[:10]


def test_prefix_text_that_was_shown_at_the_end_is_held_back_again() -> None:
    """A reply cut at its token limit shows the beginning of a stop string; going on may complete it."""
    pair = reciters("Yes.\n\nQuestion: why", 0.9)
    request = asked(method="base", stops=STOPS, max_tokens=6)
    cut, steps = run(pair, request)
    assert cut.text == "Yes.\n\nQu"
    response, rest = run(pair, replace(request, prefix=tuple(steps)))
    assert (joined(response.prefix), response.text) == ("Yes.", "Yes.\n\nQuestion")
    assert joined(response.prefix) + joined(rest) == response.text
    response, _ = run(pair, onward(asked(method="base", stops=STOPS), steps))
    assert (response.text, response.finish_reason) == ("Yes.", "stop string")


def test_a_prefix_with_a_stop_string_is_over() -> None:
    pair = reciters("Yes. No.", 0.9)
    _, steps = run(pair, asked(method="base"))
    response, rest = run(pair, onward(asked(stops=(" N",)), steps[:-1]))
    assert (response.text, response.finish_reason, rest) == ("Yes.", "stop string", [])
    assert fake(pair.guide).decodes == []


# Chosen by the user


def ends_of(response: Response, pair: Pair) -> set[int]:
    """Return the outcomes that end a response; where the guide writes, the base's are tokens like others."""
    ends = set(response.writer.vocabulary.end_tokens.tolist())
    return ends | {pair.vocabulary_map.stop} if response.writer is pair.base else ends


def listed(step: Step) -> Iterator[tuple[str, Candidate]]:
    assert step.candidates is not None
    for column in ("base", "guide", "blend"):
        for candidate in getattr(step.candidates, column):
            if candidate.outcome >= 0:
                yield column, candidate


@pytest.mark.parametrize("method", METHODS)
@examples(12)
@given(vocabulary_pairs, st.integers(0, 1 << 20), st.data())
def test_every_candidate_can_be_chosen(
    method: str, models: tuple[Vocabulary, Vocabulary], seed: int, data: st.DataObject
) -> None:
    pair = dreamers(*models, seed, spread=1.0)
    leads = [data.draw(st.sampled_from((b"", b" "))) for _ in range(2)]
    request = asked(
        *(prompt_of(1, lead) for lead in leads), method=method, gamma=0.6, max_tokens=6, candidates=4
    )
    _, steps = run(pair, request)
    k = data.draw(st.integers(0, len(steps) - 1))
    first = not any(step.data for step in steps[:k])
    column, candidate = data.draw(st.sampled_from(list(listed(steps[k]))))
    branch = replace(onward(request, steps[:k], candidate.outcome), settings=request.settings)
    response, rest = run(pair, branch)
    chosen = rest[0]
    assert chosen.outcome == candidate.outcome
    assert first or chosen.data == candidate.data
    assert chosen.data.strip(b" ") == candidate.data.strip(b" ")
    if column == "blend":
        assert chosen.probability == pytest.approx(candidate.probability, abs=1e-6)
    assert 0 <= chosen.probability <= 1
    if candidate.outcome in ends_of(response, pair):
        assert (chosen.source, response.finish_reason, len(rest)) == (Source.STOP, "stop", 1)
        return
    assert (chosen.source, len(rest) > 1) == (Source.USER, True)
    said = b"".join(step.data for step in [*steps[:k], *rest])
    if is_text(said):
        assert response.text == said.decode()
    # And what was chosen is as good a prefix as any.
    _, after = run(pair, replace(branch, prefix=(*steps[:k], chosen), forced_outcome=None))
    assert uncounted(after)[: len(rest) - 2] == uncounted(rest[1:-1])
    # Whether the guide is asked or not: it is no part of what the user chose.
    alone = replace(branch.settings, blend=replace(branch.settings.blend, gamma=0.0))
    _, rest = run(pair, replace(branch, settings=alone))
    assert (rest[0].outcome, rest[0].data) == (chosen.outcome, chosen.data)


@pytest.mark.parametrize("guide_lead", [b"", b" "])
@pytest.mark.parametrize("base_lead", [b"", b" "])
@pytest.mark.parametrize("settings", [{"method": "base"}, {"gamma": 0.01}, {"method": "blendin"}], ids=str)
def test_a_token_that_only_the_guide_has_is_chosen_under_any_settings(
    base_lead: bytes, guide_lead: bytes, settings: dict[str, Any]
) -> None:
    said = (guide_lead + b"Oslo").decode()
    pair = scripted(
        ("_Os Os lo _is", {"": {"!": 0.2}, "Oslo": {" is": 0.9}}),
        (said.replace(" ", "_"), {"": {said: 0.4}, "Oslo": {"x": 0.9}}),
    )
    prompts = prompt_of(1, base_lead), prompt_of(1, guide_lead)
    _, (step,) = run(pair, asked(*prompts, max_tokens=1, candidates=1))
    assert step.candidates is not None
    (wanted,) = step.candidates.guide
    assert wanted.outcome >= len(pair.base.vocabulary)
    request = replace(asked(*prompts, **{"max_tokens": 2, **settings}), forced_outcome=wanted.outcome)
    response, steps = run(pair, request)
    assert (response.text, steps[0].data, steps[0].source) == ("Oslo is", b"Oslo", Source.USER)
    assert (steps[0].reliability, steps[0].weak, steps[0].r_b is None) == (None, False, False)
    begins = (base_lead + b"Os").decode()
    assert steps[0].base_tokens == tuple(id_of(pair.base.vocabulary, word) for word in (begins, "lo"))
    # .4 / .6 of the guide's .4; the base alone has no such token.
    expected = 0.4 * 0.4 / 0.6 if settings == {"method": "blendin"} else 0.0
    assert steps[0].probability == pytest.approx(expected, abs=1e-3)


def test_a_first_word_of_the_guide_is_the_base_s_with_its_space() -> None:
    """ "Paris" of the guide is chosen as the " Paris" that the base expects after its prompt."""
    words = "_Paris Paris Rome _Rome"
    pair = scripted((words, {"": {" Rome": 0.3}}), (words, {"": {"Paris": 0.8}}))
    request = asked(prompt_of(1, b" "), max_tokens=1, candidates=1)
    _, (step,) = run(pair, request)
    assert step.candidates is not None
    (wanted,) = step.candidates.guide
    assert wanted.outcome == id_of(pair.base.vocabulary, " Paris")
    _, (step,) = run(pair, replace(request, forced_outcome=wanted.outcome))
    assert step.data == wanted.data == b"Paris"


def test_a_guide_s_token_needs_no_prompt_of_the_guide() -> None:
    pair = scripted(("_Cam bridge", {"": {"!": 0.9}}), ("_Cambridge", {"": {" Cambridge": 0.9}}))
    request = replace(asked(method="base", max_tokens=2), guide=None)
    response, _ = run(pair, replace(request, forced_outcome=len(pair.base.vocabulary)))
    assert response.text == " Cambridge!"


@pytest.mark.parametrize("gamma", [0.4, 1.0])
def test_the_stop_can_be_chosen_for_any_of_its_tokens(gamma: float) -> None:
    pair = scripted(("", {"": {"x": 0.6, 1: 0.1, 2: 0.2}}), ("", {"": {"y": 0.9, 1: 0.05, 2: 0.05}}), ends=2)
    stop = pair.vocabulary_map.stop
    blended = 0.5 * (0.3 + 0.1)
    for forced_outcome, alone in ((stop, 0.3), (2, 0.2)):
        request = replace(asked(method="fixed", gamma=gamma), forced_outcome=forced_outcome)
        response, (step,) = run(pair, request)
        assert (response.finish_reason, step.source, step.outcome) == ("stop", Source.STOP, forced_outcome)
        assert step.probability == pytest.approx(blended if gamma == 1 else alone, abs=1e-3)


def test_a_chosen_token_whose_mass_is_another_s() -> None:
    """Gemma's byte tokens: where the guide is blended in, their mass is that of the token they equal."""
    base, guide = words_and_bytes([b"\n"]), words_and_bytes()
    twin = newline_byte(base)
    pair = pair_models(
        FakeModel(base, reciting(base, b"\n", confidence=0.3)), FakeModel(guide, reciting(guide, b"\n"))
    )
    _, (step,) = run(pair, replace(asked(method="fixed", max_tokens=1), forced_outcome=twin))
    assert (step.outcome, step.base_tokens, step.data) == (twin, (twin,), b"\n")
    assert step.probability == pytest.approx(0.6, abs=1e-2)


@pytest.mark.parametrize(
    ("method", "beyond"), [("blendin", "n_outcomes"), ("base", "n_outcomes"), ("guide", "")]
)
def test_an_outcome_that_there_is_not(method: str, beyond: str) -> None:
    pair = reciters("the end", 0.3)
    size = pair.vocabulary_map.n_outcomes if beyond else len(pair.guide.vocabulary)
    for forced_outcome in (-1, size):
        with pytest.raises(ModelError, match=f"knows no outcome {forced_outcome}: choose another"):
            respond(pair, replace(asked(method=method), forced_outcome=forced_outcome))
    assert respond(pair, replace(asked(method=method), forced_outcome=size - 1)).finish_reason is None


def test_the_user_outweighs_a_guide_that_wants_to_stop() -> None:
    """Every column of the stop's step can be chosen from, and the reply goes on."""
    pair = stopping_guide("One. Two.", "One.", 0.9)
    request = asked(guide_stop=True, candidates=3)
    response, steps = run(pair, request)
    stop = steps[-1]
    assert (response.text, stop.source, stop.alpha, stop.changed) == ("One.", Source.STOP, 1.0, True)
    assert stop.candidates is not None
    assert stop.candidates.blend == stop.candidates.guide
    assert stop.candidates.guide[0].outcome == stop.outcome == pair.vocabulary_map.stop
    assert (stop.candidates.base[0].data, stop.candidates.base[0].probability > 0.9) == (b" ", True)
    response, rest = run(pair, onward(request, steps[:-1], stop.candidates.base[0].outcome))
    assert (response.text, response.finish_reason) == ("One. Two.", "stop")
    assert (rest[0].source, rest[0].intervened, rest[1].source) == (Source.USER, False, Source.BASE)


# Written by another


def whole_at(steps: Sequence[Step], k: int) -> bool:
    return is_text(b"".join(step.data for step in steps[:k]))


@pytest.mark.parametrize("lead", [b"", b" "])
@pytest.mark.parametrize(("one", "other"), [("guide", "blendin"), ("blendin", "guide"), ("base", "guide")])
def test_another_model_goes_on_with_the_same_bytes(one: str, other: str, lead: bytes) -> None:
    pair = reciters(TEXT, 0.3)
    prompts = prompt_of(1), prompt_of(2)
    _, steps = run(pair, asked(*prompts, method=one))
    writer, models = ("guide", "base")[other != "guide"], {"base": pair.base, "guide": pair.guide}
    for k in range(len(steps)):
        response, rest = run(pair, onward(asked(*prompts, method=other), steps[:k]))
        kept = joined(steps[:k])
        assert response.text.startswith(kept)
        if whole_at(steps, k):
            assert response.text == TEXT
            assert models[writer].vocabulary.decode(models[writer].cached(0)) == TEXT.encode()
            # And back to the first, from steps of both.
            both = [*response.prefix, *rest[:1]]
            back, _ = run(pair, onward(asked(*prompts, method=one), both))
            assert back.text == TEXT or not is_text(b"".join(step.data for step in both))


@pytest.mark.parametrize("lead", [b"", b" "])
@pytest.mark.parametrize("method", ["base", "guide", "blendin"])
def test_a_user_writes_the_beginning(method: str, lead: bytes) -> None:
    said = lead.decode() + TEXT
    pair = reciters(said, 0.3)
    request = asked(prompt_of(1, lead), prompt_of(1, lead), method=method)
    response, rest = run(pair, onward(request, [user_wrote("the 🧀")]))
    assert (response.text, joined(rest)) == (TEXT, TEXT.removeprefix("the 🧀"))
    assert [step.index for step in rest] == list(range(1, len(rest) + 1))
    summary = response.summary
    assert (summary.sources[Source.USER], summary.kept, summary.steps) == (1, 1, len(rest) + 1)
    assert response.prefix[0].reliability is None
    # After what a model wrote, too.
    response, _ = run(pair, onward(request, [*response.prefix, *rest[:2], user_wrote("aaa.", 3)]))
    assert response.text.startswith(joined([user_wrote("the 🧀"), *rest[:2]]) + "aaa.")


def test_a_user_writes_nothing() -> None:
    pair = reciters(" the end", 0.3)
    response, rest = run(pair, onward(asked(prompt_of(1, b" "), prompt_of(1, b" ")), [user_wrote("")]))
    assert (response.text, rest[0].data) == ("the end", b"the")


@pytest.mark.parametrize("tokens", [(1 << 20,), (-3,), (5, 5)])
def test_tokens_of_another_file_are_not_believed(tokens: tuple[int, ...]) -> None:
    """A conversation is kept; the model that goes on with it may have another vocabulary."""
    pair = reciters("the end", 0.9)
    request = asked(method="base")
    _, steps = run(pair, request)
    foreign = [replace(step, base_tokens=tokens) for step in steps[:3]]
    response, _ = run(pair, onward(request, foreign))
    assert response.text == pair.base.vocabulary.decode(pair.base.cached(0)).decode() == "the end"


def test_outcomes_that_were_not_kept_are_penalised_all_the_same() -> None:
    pair = scripted(("", {"": {"x": 0.5, 1: 0.4}}), ("", {"": {"y": 0.9}}))
    request = asked(method="base", sampling=SamplingSettings(presence_penalty=1.0))
    _, steps = run(pair, request)
    assert [step.text for step in steps] == ["x", ""]
    for step in (replace(steps[0], outcome=-1), replace(steps[0], base_tokens=(), outcome=-1)):
        assert uncounted(run(pair, onward(request, [step]))[1]) == uncounted(steps[1:])


# Figures and limits


def test_figures_of_a_reply_that_goes_on() -> None:
    pair = reciters(TEXT, 0.3)
    request = asked(prompt_of(3), prompt_of(4))
    whole, steps = run(pair, request)
    before = [fake(model).decoded for model in (pair.base, pair.guide)]
    response, rest = run(pair, onward(request, steps[:10]))
    after = [fake(model).decoded for model in (pair.base, pair.guide)]
    summary = response.summary
    assert (summary.steps, summary.kept, len(rest)) == (len(steps), 10, len(steps) - 10)
    assert [summary.base_decoded, summary.guide_decoded] == [
        b - a for a, b in zip(before, after, strict=True)
    ]
    assert summary.intervention_rate == whole.summary.intervention_rate > 0
    assert summary.timings.base_s == pytest.approx(sum(step.base_s for step in rest))
    assert summary.timings.blend_s == pytest.approx(sum(step.blend_s for step in rest))
    assert 0 < summary.timings.first_token_s <= summary.timings.total_s
    following = summary.timings.total_s - summary.timings.first_token_s
    assert summary.tokens_per_second == pytest.approx((len(rest) - 1) / following)


def test_tokens_per_second_leave_out_what_was_kept() -> None:
    summary = Summary(steps=10, kept=6, timings=Timings(first_token_s=1.0, total_s=4.0))
    assert summary.tokens_per_second == pytest.approx(1.0)
    assert Summary(steps=7, kept=6, timings=Timings(first_token_s=1.0, total_s=4.0)).tokens_per_second == 0


def test_the_token_limit_counts_new_steps() -> None:
    pair = reciters(TEXT, 0.3)
    _, steps = run(pair, asked(max_tokens=8))
    response, rest = run(pair, replace(asked(max_tokens=3), prefix=tuple(steps)))
    assert (len(rest), response.finish_reason) == (3, "length")
    assert [step.finish_reason for step in response.prefix] == [None] * 8


@pytest.mark.parametrize(("kept", "text"), [(2, "xxxx"), (3, "xxxx"), (4, "xxxx"), (20, "x" * 20)])
def test_a_prefix_that_fills_the_base_s_context(kept: int, text: str) -> None:
    pair = scripted(("", {"": {"x": 0.9}}), ("", {"": {"y": 0.9}}), n_ctx=8)
    prefix = [user_wrote("x", index) for index in range(kept)]
    response, rest = run(pair, onward(asked(prompt_of(5)), prefix))
    assert (response.text, response.finish_reason, len(rest)) == (text, "context", max(0, 4 - kept))


@pytest.mark.parametrize("kept", [2, 4, 20])
def test_a_prefix_that_fills_the_guide_s_context(kept: int) -> None:
    pair = scripted(("", {"": {"x": 0.2}}), ("", {"": {"x": 0.9}}))
    fake(pair.guide).n_ctx = 8
    response, rest = run(pair, onward(asked(prompt_of(1), prompt_of(5)), [user_wrote("x" * kept)]))
    assert (response.finish_reason, len(rest)) == ("context", max(0, 4 - kept))
    assert response.text == "x" * (kept + len(rest))


@pytest.mark.parametrize("role", ["base", "guide"])
def test_a_reply_cut_while_its_prompt_is_read_has_its_costs(role: str) -> None:
    pair, cancellation = hesitant_pair(), Cancellation()
    fake(getattr(pair, role)).before_decode = lambda number: cancellation.cancel()
    response = respond(pair, asked(prompt_of(7), prompt_of(3)))
    assert list(decode(pair, [response], cancellation)) == []
    summary = response.summary
    assert (response.finish_reason, summary.base_decoded) == ("cancelled", 7)
    assert summary.guide_decoded == (3 if role == "guide" else 0)
    timings = summary.timings
    assert min(timings.base_s, getattr(timings, f"{role}_s")) > 0
    assert timings.total_s >= timings.base_s + timings.guide_s + timings.blend_s > 0
    assert timings.first_token_s == summary.tokens_per_second == 0


def test_a_guide_stop_is_the_guide_s() -> None:
    pair = stopping_guide("One. Two.", "One.", 0.9)
    response, steps = run(pair, asked(guide_stop=True))
    stop = steps[-1]
    assert (stop.alpha, stop.changed, stop.intervened) == (1.0, True, False)
    assert stop.reliability == stop.r_g != stop.r_b
    assert (response.summary.changed, response.summary.mean("alpha")) == (1, None)
    # Where the base would have stopped as well, nothing is changed.
    response, steps = run(stopping_guide("One.", "One.", 0.9), asked(guide_stop=True))
    assert (steps[-1].consulted, steps[-1].changed) == (True, False)
