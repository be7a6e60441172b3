"""What steps and replies are said to mean: numbers that agree with the rules, words that fit the figures."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from blendin_local.engine.steps import Source, Step, Summary
from blendin_local.methods import METHODS, Evidence
from blendin_local.presentation.explanation import (
    FIGURE_HELP,
    SPEAKERS,
    describe_reply,
    explain_alpha,
    weak_passages,
)
from blendin_local.settings import BlendSettings

ASKED = tuple(name for name, method in METHODS.items() if method.trigger != "never")

shares = st.floats(0, 1)
confidences = st.floats(1 / 262_144, 1)
settings = st.builds(
    BlendSettings,
    method=st.sampled_from(ASKED),
    gamma=shares,
    alpha=shares,
    prior=st.floats(-50, 50),
    compete_k=st.integers(1, 8),
    tau=shares,
    capability_gap=st.floats(-1, 1),
)


def a_step(**fields: Any) -> Step:
    given_fields = {"index": 0, "data": b"x", "text": "x", "source": Source.BASE, "c_b": 0.27, "r_b": 0.27}
    return Step(**{**given_fields, **fields})


def asked(**fields: Any) -> Step:
    """An intervention under the paper's rule."""
    seen = {"c_g": 0.4, "agreement": 0.12, "guide_rank": 1, "stop_mass": 0.01, "alpha": 0.609}
    return a_step(**{**seen, "consulted": True, "intervened": True, "source": Source.GUIDE, **fields})


# One step


@given(settings, confidences, confidences, shares, st.integers(0, 20))
@example(BlendSettings(), 1 / 262_144, 1.0, 1.0, 0)
@example(BlendSettings(method="tuned", prior=50.0), 1e-5, 1.0, 1.0, 0)
def test_the_last_number_is_the_alpha_of_the_rule(
    blend: BlendSettings, c_b: float, c_g: float, agreement: float, rank: int
) -> None:
    value = float(METHODS[blend.method].weigh(Evidence(c_b, c_g, agreement, rank), blend))
    step = asked(c_b=c_b, c_g=c_g, agreement=agreement, guide_rank=rank, alpha=value)
    said = [line for line in explain_alpha(step, blend) if "α = " in line]
    printed = re.findall(r"\d+\.\d+", said[-1])[-1]
    decimals = len(printed.partition(".")[2])
    assert float(printed) == pytest.approx(value, abs=0.5000001 * 10**-decimals)
    assert said[-1].endswith(printed)
    # Nothing else than the rule had a say.
    assert "but" not in said[-1]


@pytest.mark.parametrize(
    ("options", "fields", "said"),
    [
        (
            {},
            {},
            [
                "c_b 0.27 < γ 0.40: the base was unsure, so the guide was asked",
                "α = clip(c_g / (c_b + c_g) + 0.1·a, 0, 1)"
                " = clip(0.40 / (0.27 + 0.40) + 0.1·0.12, 0, 1) = 0.61",
            ],
        ),
        (
            {},
            {"c_b": 0.02, "c_g": 0.98, "agreement": 0.5, "alpha": 1.0},
            [" = clip(0.98 / (0.020 + 0.98) + 0.1·0.50, 0, 1) = 1.00"],
        ),
        (
            {"method": "tuned", "prior": -1.75},
            {"alpha": 0.2129},
            [
                "α = σ(logit(clip(c_g / (c_b + c_g) + 0.1·a, 0, 1)) + b)",
                " = σ(logit(clip(0.40 / (0.27 + 0.40) + 0.1·0.12, 0, 1)) − 1.75) = 0.21",
            ],
        ),
        (
            {"method": "compete"},
            {"alpha": 1.0},
            [
                "α = 1 if rank ≤ k and c_g > c_b, else 0 = 1 if 2 ≤ 5 and 0.40 > 0.27, else 0 = 1.00",
            ],
        ),
        (
            {"method": "compete", "compete_k": 1},
            {"alpha": 0.0},
            [" = 1 if 2 ≤ 1 and 0.40 > 0.27, else 0 = 0.00"],
        ),
        (
            {"method": "moderate"},
            {"alpha": 0.32893},
            [" = clip(0.1 + 0.7·(1 − 0.27)·0.40·(1 + 0.12), 0.1, 0.9) = 0.33"],
        ),
        ({"method": "doubt"}, {"alpha": 0.327}, ["= clip((1 − 0.27)·0.40·(1 + 0.12), 0, 1) = 0.33"]),
        (
            {"method": "tiered"},
            {"alpha": 0.7},
            ["0.7 if 0.27 < 0.30, 0.5 if 0.27 < 0.30 + 0.2, else 0.3 = 0.70"],
        ),
        (
            {"method": "tiered", "tau": 0.2},
            {"alpha": 0.5},
            ["= 0.7 if 0.27 < 0.20, 0.5 if 0.27 < 0.20 + 0.2, else 0.3 = 0.50"],
        ),
        (
            {"method": "tiered", "tau": 0.0},
            {"alpha": 0.3},
            ["0.5 if 0.27 < 0.00 + 0.2, else 0.3 = 0.30"],
        ),
        ({"method": "fixed", "alpha": 0.25}, {"alpha": 0.25}, [": α = 0.25"]),
        ({"method": "ensemble"}, {"alpha": 0.5}, ["ensemble asks the guide at every step", ": α = 0.50"]),
        (
            {"capability_gap": 0.5},
            {},
            ["γ' = min(γ·(1 + gap/2), 0.6) = min(0.40·(1 + 0.50/2), 0.6) = 0.50", "c_b 0.27 < γ' 0.50"],
        ),
        ({"capability_gap": 0.5}, {"c_b": 0.45}, ["c_b 0.45 < γ' 0.50: the base was unsure"]),
        ({"unit": "word"}, {"c_b": 0.93}, ["c_b 0.93 ≥ γ 0.40", "but the guide was inside its word"]),
        ({}, {"alpha": 0.0}, ["but all that the guide could say was a control token: α = 0"]),
        ({}, {"alpha": 0.9}, ["but this step was written under other settings: α = 0.90"]),
        ({}, {"c_b": 0.93}, ["but this step was written under other settings"]),
        ({}, {"agreement": None}, ["its numbers were not kept: α = 0.61"]),
        (
            {},
            {"source": Source.STOP, "data": b"", "probability": 0.31},
            ["the stop was chosen from the mixture (probability 0.31)"],
        ),
        ({}, {"source": Source.USER}, ["you chose this token", "= 0.61"]),
        # Two values that are not equal never look it.
        ({}, {"c_b": 0.3999}, ["c_b 0.3999 < γ 0.4000"]),
        ({"method": "tiered"}, {"c_b": 0.2999, "alpha": 0.7}, ["0.7 if 0.2999 < 0.30"]),
    ],
)
def test_a_step_at_which_the_guide_was_blended_in(
    options: dict[str, Any], fields: dict[str, Any], said: list[str]
) -> None:
    text = "\n".join(explain_alpha(asked(**fields), BlendSettings(**options)))
    for part in said:
        assert part in text


@pytest.mark.parametrize(
    ("options", "fields", "said"),
    [
        ({}, {"c_b": 0.93}, ["c_b 0.93 ≥ γ 0.40: the base was sure; the guide was not asked"]),
        ({}, {"c_b": 0.4}, ["c_b 0.40 ≥ γ 0.40: the base was sure; the guide was not asked"]),
        ({"method": "base"}, {}, ["the base writes alone: α = 0.00"]),
        ({"method": "guide"}, {"c_b": None, "c_g": 0.5, "alpha": 1.0}, ["the guide writes alone: α = 1.00"]),
        (
            {},
            {"c_b": 0.93, "consulted": True, "stop_mass": 0.03},
            ["c_b 0.93 ≥ γ 0.40: the base was sure", "asked about stopping only: stop mass 0.03 ≤ 0.50"],
        ),
        (
            {},
            {"consulted": True, "stop_mass": 0.93, "probability": 0.93, "source": Source.STOP, "data": b""},
            [
                "c_b 0.27 < γ 0.40: the base was unsure",
                "stop mass 0.93 > 0.50: asked about stopping, the guide ended the reply (α = 1)",
            ],
        ),
        (
            {"unit": "word"},
            {"c_b": 0.93, "consulted": True, "stop_mass": 0.03},
            [
                "c_b 0.93 ≥ γ 0.40: the base was sure",
                "asked whether to stop (stop mass 0.030) or to finish its word: neither",
            ],
        ),
        (
            {},
            {"c_b": 0.93, "source": Source.STOP, "data": b""},
            [
                "c_b 0.93 ≥ γ 0.40: the base was sure; the guide was not asked",
                "the base itself ended the reply",
            ],
        ),
        (
            {"max_intervention_rate": 0.2},
            {"index": 21},
            ["c_b 0.27 < γ 0.40: the base was unsure, but the cap on interventions (20%) was reached"],
        ),
        (
            {"method": "ensemble", "max_intervention_rate": 0.2},
            {"index": 21},
            ["ensemble asks the guide at every step, but the cap on interventions (20%) was reached"],
        ),
        (
            {"max_intervention_rate": 0.2},
            {"index": 21, "data": b"\x80"},
            [
                "c_b 0.27 < γ 0.40: the base was unsure, but half a character was written: the guide cannot "
                "be asked there"
            ],
        ),
        ({}, {"source": Source.USER, "c_b": None}, ["you wrote this; no model was asked"]),
        ({}, {"c_b": None, "c_g": 0.4}, ["this step was written under other settings"]),
    ],
)
def test_a_step_of_one_model(options: dict[str, Any], fields: dict[str, Any], said: list[str]) -> None:
    assert explain_alpha(a_step(**fields), BlendSettings(**options)) == said


def test_everybody_who_may_speak_and_every_figure_has_words() -> None:
    assert set(SPEAKERS) == set(Source)
    assert {"alpha", "agreement", "divergence", "hint level"} <= set(FIGURE_HELP)
    assert all(text.endswith(".") for text in FIGURE_HELP.values())


# A reply


def summed(steps: int = 100, asked_at: int = 0, changed: int = 0, weak: int = 0, **fields: Any) -> Summary:
    summary = Summary()
    for i in range(steps):
        step = a_step(data=b" x", c_b=0.9, r_b=0.1 if i < weak else 0.9, intervened=i < asked_at)
        summary.add(replace(step, changed=i < changed, **fields))
    return summary


@pytest.mark.parametrize(
    ("method", "summary", "said"),
    [
        ("blendin", summed(7, 7), ""),
        ("blendin", summed(source=Source.USER), ""),
        (
            "blendin",
            summed(asked_at=4, changed=3),
            "Calm: the base was sure nearly everywhere; the guide changed 3% of the tokens.",
        ),
        (
            "blendin",
            summed(asked_at=15, changed=8),
            "The base needed the guide at 15% of the steps, which changed 8% of the tokens.",
        ),
        (
            "blendin",
            summed(asked_at=46, changed=30),
            "The base needed the guide at 46% of the steps (hint level 20%), the guide changed 30%: the base "
            "may not suit this question.",
        ),
        (
            "blendin",
            summed(asked_at=46, changed=4),
            "The base needed the guide at 46% of the steps (hint level 20%), but the guide changed only 4% "
            "of the tokens.",
        ),
        (
            "blendin",
            summed(asked_at=46, changed=4, weak=31),
            "Read with care: 31% of the steps were weak; the base needed the guide at 46% (hint level 20%).",
        ),
        (
            "nudge",
            summed(asked_at=5, weak=31),
            "Read with care: 31% of the steps were weak, though the base needed the guide at only 5%.",
        ),
        ("base", summed(weak=12), "The base wrote alone, nothing was blended; 12% of the steps were weak."),
        (
            "base",
            summed(weak=40),
            "Read with care: 40% of the steps were weak. The base wrote alone, nothing was blended.",
        ),
        (
            "ensemble",
            summed(asked_at=100, changed=12),
            "Both models weighed at every step, and the guide changed 12% of the tokens.",
        ),
    ],
)
def test_a_reply_in_words(method: str, summary: Summary, said: str) -> None:
    assert describe_reply(summary, method, 0.2, calibrated=True) == said


def test_plain_confidence_is_not_called_calibrated() -> None:
    assert "weak (not calibrated)" in describe_reply(summed(weak=40), "blendin", 0.2, calibrated=False)


# Weak passages

STEPS = st.lists(
    st.builds(
        a_step,
        r_b=st.sampled_from((0.1, 0.1, 0.9)),
        data=st.sampled_from((b"x", b"x", b"")),
    ),
    max_size=30,
)


@pytest.mark.parametrize(
    ("pattern", "passages"),
    [
        ("", []),
        ("...", []),
        ("w", [range(1)]),
        (".w..w.", [range(1, 5)]),
        ("w...w", [range(1), range(4, 5)]),
        ("s", []),
        ("w.s", [range(3)]),
        ("....s", []),
    ],
)
def test_weak_passages(pattern: str, passages: list[range]) -> None:
    """w: a weak step, s: a weak stop."""
    steps = [a_step(r_b=0.9 if mark == "." else 0.1, data=b"" if mark == "s" else b"x") for mark in pattern]
    assert weak_passages(steps) == passages


@given(STEPS)
def test_weak_passages_hold_every_weak_word_once_and_stand_apart(steps: list[Step]) -> None:
    passages = weak_passages(steps)
    covered = [place for passage in passages for place in passage]
    assert len(set(covered)) == len(covered) and covered == sorted(covered)
    assert {i for i, step in enumerate(steps) if step.weak and step.data} <= set(covered)
    for passage in passages:
        assert steps[passage[0]].weak and steps[passage[-1]].weak
        assert any(steps[i].weak and steps[i].data for i in passage)
    assert all(after.start - before.stop > 2 for before, after in pairwise(passages))
