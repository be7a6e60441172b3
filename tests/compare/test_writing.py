"""Answers written by fakes: each once, each from the same state, and the same after an interruption."""

from __future__ import annotations

from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.compare_fakes import VOCABULARY, Loader, blend, item_of, run_of, single
from support.fakes import dreaming, reciting

from blendin_local.compare.answers import Answer, Answers
from blendin_local.compare.writing import TOO_LONG, ArmProgress, write_answers
from blendin_local.engine.prompts import Message
from blendin_local.settings import ModelOptions, SamplingSettings

BASE, GUIDE = single("base"), single("guide", "guide")
NUDGE = blend(BASE, GUIDE, method="nudge", gamma=0.6)
BLENDIN = blend(BASE, GUIDE, method="blendin", gamma=0.6, guide_stop=False)
ARMS = (BASE, GUIDE, NUDGE, BLENDIN)
SYSTEM = Message("system", "answer yes or no")
ITEMS = [replace(item_of(str(n)), messages=(SYSTEM, Message("user", f"is {n} blue"))) for n in range(3)]
RUNS = (run_of(ITEMS[:2], name="first", max_tokens=8), run_of(ITEMS, name="second", max_tokens=4))
MINDS = {"base": dreaming(VOCABULARY, 1, 2.0), "guide": dreaming(VOCABULARY, 2, 3.0)}


@pytest.fixture
def answers(tmp_path: Path) -> Any:
    opened = Answers(tmp_path / "answers.db")
    yield opened
    opened.close()


def written(answers: Answers, load: Loader | None = None, arms: Any = ARMS, **more: Any) -> Any:
    return write_answers(arms, more.pop("runs", RUNS), answers, load or Loader(MINDS), ModelOptions(), **more)


def without_times(answer: Answer) -> Any:
    return replace(answer, timings={}, peak_memory=None)


def test_every_arm_answers_every_question(answers: Answers) -> None:
    load = Loader(MINDS)
    found = written(answers, load)
    assert set(found) == {(arm.name, run.name, item.id) for arm in ARMS for run in RUNS for item in run.items}
    # A model alone is loaded alone, and a pair once for all its arms.
    assert load.loads == [("base",), ("guide",), ("base", "guide")]
    assert all(model.closed for pair in load.opened for model in (pair.base, pair.guide))  # type: ignore[attr-defined]
    rates = [found[NUDGE.name, "first", item.id].summary["intervention_rate"] for item in ITEMS[:2]]
    assert any(0 < rate <= 1 for rate in rates)
    alone = found["base", "first", "0"]
    assert alone.summary["interventions"] == 0 and not alone.ranks
    assert all(found[arm.name, "second", "0"].summary["steps"] <= 4 for arm in ARMS)


def test_what_is_kept_is_not_written_again(answers: Answers) -> None:
    first = written(answers)
    load = Loader(MINDS)
    assert written(answers, load) == first
    assert load.loads == []


def test_an_extended_comparison_writes_only_what_is_new(answers: Answers) -> None:
    short = written(answers, arms=(BASE, GUIDE), runs=(run_of(ITEMS[:2], name="first"),))
    load = Loader(MINDS)
    longer = written(answers, load, arms=(BASE, GUIDE), runs=(run_of(ITEMS, name="first"),))
    assert {key: longer[key] for key in short} == short
    assert load.decodes < most_decodes(RUNS)
    more = Loader(MINDS)
    written(answers, more, arms=ARMS[:3], runs=(run_of(ITEMS, name="first"),))
    assert more.loads == [("base", "guide")]


def most_decodes(runs: Any) -> int:
    return sum(len(run.items) * (run.max_tokens + 1) for run in runs) * 2


def test_a_changed_setting_writes_anew(answers: Answers) -> None:
    written(answers, arms=(NUDGE,))
    load = Loader(MINDS)
    changed = replace(
        NUDGE, settings=replace(NUDGE.settings, blend=replace(NUDGE.settings.blend, gamma=0.61))
    )
    written(answers, load, arms=(changed,))
    assert load.loads == [("base", "guide")]


@pytest.mark.parametrize("stops", [(1, 30), (70, 7)])
def test_killed_twice_and_resumed_is_as_undisturbed(tmp_path: Path, stops: tuple[int, int]) -> None:
    undisturbed = Answers(tmp_path / "whole.db")
    whole = written(undisturbed)
    undisturbed.close()

    def killer(at: int) -> Loader:
        def before(decode: int) -> None:
            if decode == at:
                raise KeyboardInterrupt

        return Loader(MINDS, before)

    for at in stops:
        disturbed = Answers(tmp_path / "parts.db")
        load = killer(at)
        with pytest.raises(KeyboardInterrupt):
            written(disturbed, load)
        assert all(model.closed for pair in load.opened for model in (pair.base, pair.guide))  # type: ignore[attr-defined]
        disturbed.close()
    resumed = Answers(tmp_path / "parts.db")
    found = written(resumed)
    resumed.close()
    assert {key: without_times(answer) for key, answer in found.items()} == {
        key: without_times(answer) for key, answer in whole.items()
    }


def test_an_answer_depends_on_nothing_but_its_key(answers: Answers, tmp_path: Path) -> None:
    """The decodes of a question are the same, whatever was asked before: near ties must fall alike.

    llama.cpp's last digits depend on how tokens are cut into batches, so reusing what another question
    left in the cache made an answer depend on it.
    """

    def decodes(items: Any, name: str) -> Any:
        load = Loader(MINDS)
        opened = Answers(tmp_path / f"{name}.db")
        written(opened, load, arms=(BASE, NUDGE), runs=(run_of(items, name="made"),))
        opened.close()
        logged = []
        for pair in load.opened:
            for model in (pair.base, pair.guide):
                logged.append([decode[0] for decode in model.decodes])  # type: ignore[attr-defined]
        return logged

    alone, after_others = decodes(ITEMS[-1:], "alone"), decodes(ITEMS, "all")
    for one, all_of_them in zip(alone, after_others, strict=True):
        if one:
            beginning, *rest = one
            assert all_of_them[0] == beginning, "the shared beginning is decoded by itself, first"
            assert all_of_them[-len(rest) :] == rest
            assert all_of_them.count(beginning) == 1


def test_settings_without_effect_ask_nothing_again(answers: Answers) -> None:
    """Methods with every threshold were asked for at 0.4, then at 0.3 and 0.4; then with another seed."""
    ensemble = blend(BASE, GUIDE, "ensemble", method="ensemble", gamma=0.4)
    first = written(answers, arms=(BASE, ensemble, BLENDIN))
    load = Loader(MINDS)
    lower = replace(ensemble, settings=blend(BASE, GUIDE, method="ensemble", gamma=0.3, tau=0.1).settings)
    again = written(answers, load, arms=(BASE, lower, BLENDIN), seed=5)
    assert load.loads == [] and again == first
    drawn = replace(BASE, settings=replace(BASE.settings, sampling=SamplingSettings(temperature=1.0)))
    written(answers, load, arms=(drawn,))
    written(answers, load, arms=(drawn,), seed=5)
    assert load.loads == [("base",)] * 2


def test_models_that_cannot_go_back_begin_anew(answers: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = written(answers)

    class Recurrent(Loader):
        def _model(self, name: str) -> Any:
            model = super()._model(name)
            model.goes_back = 0
            return model

    fresh = Answers(answers.path, fresh=True)
    found = written(fresh, Recurrent(MINDS))
    fresh.close()
    assert {key: answer.text for key, answer in found.items()} == {
        key: answer.text for key, answer in whole.items()
    }


def test_a_reply_that_was_cancelled_is_not_kept(answers: Answers) -> None:
    """Ctrl-C goes to the reply first: what it wrote so far is no answer."""

    @contextmanager
    def pressing(cancel: Any) -> Any:
        cancel()
        yield

    def interruptible(cancel: Any) -> AbstractContextManager[None]:
        return pressing(cancel)

    with pytest.raises(KeyboardInterrupt):
        written(answers, interruptible=interruptible)
    load = Loader(MINDS)
    written(answers, load)
    assert load.loads[0] == ("base",)


def test_a_question_that_does_not_fit_ends_nothing(answers: Answers) -> None:
    items = [item_of("long", "is the sky blue " * 400), item_of("short")]
    found = written(answers, runs=(run_of(items),))
    assert found["base", "made", "long"].finish_reason == TOO_LONG
    assert found["base", "made", "short"].finish_reason != TOO_LONG


def test_progress_counts_what_was_kept_and_tells_the_time_left(answers: Answers) -> None:
    written(answers, arms=(BASE,), runs=RUNS[:1])
    told: list[ArmProgress] = []
    written(answers, arms=(BASE,), progress=told.append)
    assert (told[0].done, told[0].total, told[0].left_s) == (2, 5, None)
    assert (told[-1].arm, told[-1].task, told[-1].done) == ("base", "second", 5)
    assert told[-1].left_s == 0
    assert [each.done for each in told] == sorted(each.done for each in told)


def test_figures_of_uncertain_positions(answers: Answers) -> None:
    """At every intervention of an unsure base, but not where the guide is only asked whether to stop."""
    found = written(answers)
    for item in ITEMS:
        answer = found[BLENDIN.name, "second", item.id]
        assert len(answer.ranks) == len(answer.masses) == answer.summary["interventions"]
        assert all(0 <= mass <= 1.0001 for mass in answer.masses)
        assert all((rank == 0) == (mass == 0) for rank, mass in zip(answer.ranks, answer.masses, strict=True))
    ensemble = blend(BASE, GUIDE, method="ensemble", gamma=0.0)
    every = written(answers, arms=(ensemble,))
    one = every[ensemble.name, "second", "0"]
    assert one.summary["interventions"] == one.summary["steps"] > 0
    # A threshold that does not act decides no figure either: the usual one does.
    ranks = sum(len(answer.ranks) for answer in every.values())
    assert 0 < ranks < sum(answer.summary["steps"] for answer in every.values())


def test_the_guide_alone_answers_as_itself(answers: Answers) -> None:
    minds = MINDS | {"guide": reciting(VOCABULARY, b"", confidence=0.9)}
    found = written(answers, Loader(minds), arms=(GUIDE,))
    assert {answer.finish_reason for answer in found.values()} == {"stop"}
