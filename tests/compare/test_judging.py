"""Judges: asked once for each question, opened only where they must be, named before anything runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.compare_fakes import VOCABULARY, Loader, answer_of, item_of, model_of, run_of, single
from support.fakes import reciting

from blendin_local.compare.answers import Answers
from blendin_local.compare.judging import CachedJudge, make_judge
from blendin_local.compare.settings import RunSettings
from blendin_local.errors import EvaluationError, PromptError
from blendin_local.settings import ModelOptions
from blendin_local.tasks import find_task

SAFE = find_task("justeval_safe")
RUN = run_of([item_of("0", "how to do harm")], SAFE, "justeval_safe")
JUDGED = json.dumps({"safety": {"reason": "fine", "score": 5}})


@pytest.fixture
def answers(tmp_path: Path) -> Any:
    opened = Answers(tmp_path / "answers.db")
    yield opened
    opened.close()


class Told:
    """A judge that says what it is told to."""

    name = "told"

    def __init__(self, *replies: str | Exception) -> None:
        self.replies = list(replies)
        self.asked: list[str] = []

    def ask(self, question: str) -> str:
        self.asked.append(question)
        reply = self.replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return reply


def kept(answers: Answers, judge: Told, name: str = "told") -> CachedJudge:
    return CachedJudge(answers, {"model": name}, lambda: (judge, None), name)


def test_a_question_is_asked_once(answers: Answers) -> None:
    judge = Told(JUDGED, json.dumps({"safety": 2}))
    first = kept(answers, judge)
    assert first.score(RUN, RUN.items[0], answer_of("no")).value == 5
    assert first.score(RUN, RUN.items[0], answer_of("no")).value == 5
    assert first.score(RUN, RUN.items[0], answer_of("yes, so")).value == 2
    assert len(judge.asked) == 2 and "how to do harm" in judge.asked[0]
    silent = Told()
    assert kept(answers, silent).score(RUN, RUN.items[0], answer_of("no")).value == 5
    assert silent.asked == []


def test_another_judge_is_asked_anew(answers: Answers) -> None:
    kept(answers, Told(JUDGED)).score(RUN, RUN.items[0], answer_of("no"))
    other = Told(json.dumps({"safety": 1}))
    assert kept(answers, other, "other").score(RUN, RUN.items[0], answer_of("no")).value == 1


def test_an_unreadable_judgement_is_no_score(answers: Answers) -> None:
    score = kept(answers, Told("I would rather not say.")).score(RUN, RUN.items[0], answer_of("no"))
    assert (score.value, score.note) == (None, "the judgement could not be read")


def test_an_unreadable_judgement_is_asked_again(answers: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    judge = Told("I would rather not say.", JUDGED)
    score = kept(answers, judge).score
    stored: list[Any] = []
    keep = answers.save_judgement
    monkeypatch.setattr(answers, "save_judgement", lambda *both: stored.append(both) or keep(*both))
    assert [score(RUN, RUN.items[0], answer_of("no")).value for _ in range(3)] == [None, 5, 5]
    assert len(judge.asked) == 2 and [said for _, said in stored] == [{"reply": JUDGED}]


@pytest.mark.parametrize("found", [{"reply": "I would rather not say."}, {"reply": 3}, {"said": JUDGED}])
def test_what_cannot_be_read_any_more_is_asked_again(
    answers: Answers, monkeypatch: pytest.MonkeyPatch, found: Any
) -> None:
    monkeypatch.setattr(answers, "judgement", lambda key: found)
    assert kept(answers, Told(JUDGED)).score(RUN, RUN.items[0], answer_of("no")).value == 5


def test_a_failing_judge_is_not_kept(answers: Answers) -> None:
    with pytest.raises(EvaluationError):
        kept(answers, Told(EvaluationError("gone"))).score(RUN, RUN.items[0], answer_of("no"))
    score = kept(answers, Told(PromptError("too long"))).score(RUN, RUN.items[0], answer_of("no"))
    assert score.value is None and "context" in score.note
    assert kept(answers, Told(JUDGED)).score(RUN, RUN.items[0], answer_of("no")).value == 5


def test_a_model_of_this_machine_judges(answers: Answers) -> None:
    mind = reciting(VOCABULARY, b"", confidence=0.9)

    def judging(tokens: tuple[int, ...]) -> Any:
        # It says its judgement after the question that ends with "Answer:".
        text = VOCABULARY.decode(tokens)
        said = text.rpartition(b"Answer:")[2]
        return reciting(VOCABULARY, text[: len(text) - len(said)] + b" " + JUDGED.encode())(tokens)

    load = Loader({"judge": judging})
    settings = RunSettings(judge="judge")
    judge = make_judge(settings, [RUN], answers, load, ModelOptions(), lambda name: model_of(name))
    assert judge and load.loads == []
    # 512 tokens of context are too few for the question.
    assert judge.score(RUN, RUN.items[0], answer_of("no")).value is None
    judge.close()
    assert load.loads == [("judge",)] and load.opened[0].base.closed  # type: ignore[attr-defined]
    assert mind


@pytest.mark.parametrize(
    ("settings", "tasks", "sentence"),
    [
        (RunSettings(), ["justeval"], "justeval can only be scored by a judge: give --judge URL"),
        (RunSettings(judge="m"), ["gsm8k"], "--judge has nothing to do"),
        (RunSettings(judge="http://localhost:1/v1"), ["justeval"], "needs --judge-model"),
        (RunSettings(judge="https:///v1", judge_model="m"), ["justeval"], "must begin with http"),
        (RunSettings(judge="m", judge_model="m"), ["justeval"], "--judge-model belongs to"),
    ],
)
def test_what_does_not_fit_is_said_before_the_run(
    answers: Answers, settings: RunSettings, tasks: list[str], sentence: str
) -> None:
    runs = [run_of([item_of("0")], find_task(name), name) for name in tasks]
    with pytest.raises(EvaluationError, match=sentence):
        make_judge(settings, runs, answers, Loader({}), ModelOptions(), model_of)


def test_tasks_that_rules_score_need_no_judge(answers: Answers) -> None:
    runs = [run_of([item_of("0")])]
    assert make_judge(RunSettings(), runs, answers, Loader({}), ModelOptions(), model_of) is None
    assert single("x").models
