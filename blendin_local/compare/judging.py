"""Cache a judge's replies by question, so that each question is asked once.

Only replies that can be parsed are cached; other questions are asked again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from blendin_local.compare.answers import Answer, Answers, digest
from blendin_local.compare.arms import ArmModel
from blendin_local.compare.settings import RunSettings
from blendin_local.compare.writing import Load, TaskRun, model_identities, versions
from blendin_local.engine.pair import Pair
from blendin_local.errors import EvaluationError, PromptError
from blendin_local.settings import ModelOptions
from blendin_local.tasks.base import Item, Score
from blendin_local.tasks.endpoint import OpenAiJudge
from blendin_local.tasks.judge import GgufJudge, Judge, judge_reply
from blendin_local.tasks.judge_questions import question_for

__all__ = ["CachedJudge", "make_judge"]

_FORMAT = 1


@dataclass(frozen=True, slots=True)
class _StoredReply:
    """A judge with a cached reply."""

    reply: str
    name: str = ""

    def ask(self, question: str) -> str:
        return self.reply


class CachedJudge:
    """A judge whose replies are cached; it is opened at the first question that is not.

    identity: distinguishes this judge from others in keys. open: makes the judge, and returns the pair to
    close at the end, if any.
    """

    def __init__(
        self,
        answers: Answers,
        identity: Mapping[str, Any],
        open: Callable[[], tuple[Judge, Pair | None]],
        name: str,
    ) -> None:
        self.name = name
        self._answers = answers
        self._identity = dict(identity)
        self._open = open
        self._judge: Judge | None = None
        self._pair: Pair | None = None

    def score(self, run: TaskRun, item: Item, answer: Answer) -> Score:
        """Score an answer by a cached or a new reply. Raises EvaluationError if the judge cannot open."""
        question = question_for(run.task, item, answer.text)
        key = digest({"format": _FORMAT, "judge": self._identity, "question": question})
        kept = (self._answers.judgement(key) or {}).get("reply")
        if isinstance(kept, str):
            score = judge_reply(_StoredReply(kept), run.task, item, answer.text)
            if score.value is not None:
                return score
        if self._judge is None:
            self._judge, self._pair = self._open()
        try:
            reply = self._judge.ask(question)
        except PromptError:
            return Score(None, "", "the question does not fit the judge's context")
        score = judge_reply(_StoredReply(reply), run.task, item, answer.text)
        if score.value is not None:
            self._answers.save_judgement(key, {"reply": reply})
        return score

    def close(self) -> None:
        if self._pair is not None:
            self._pair.close()


def make_judge(
    settings: RunSettings,
    runs: Sequence[TaskRun],
    answers: Answers,
    load: Load,
    options: ModelOptions,
    find: Callable[[str], ArmModel],
) -> CachedJudge | None:
    """Check the settings' judge without opening it; None if no task needs one.

    find: returns a model by its name or file. Raises EvaluationError if a judge is needed but not named, or
    named but not needed, and the errors of `find`.
    """
    needing = [run.name for run in runs if run.task.needs_judge]
    if not settings.judge:
        if needing:
            raise EvaluationError(
                f"{needing[0]} can only be scored by a judge: give --judge URL and --judge-model NAME, or a "
                "model of this machine, --judge MODEL."
            )
        return None
    if not needing:
        raise EvaluationError("--judge has nothing to do: all these tasks are scored by rules.")
    if settings.judge.startswith(("http://", "https://")):
        if not settings.judge_model:
            raise EvaluationError(
                f"--judge {settings.judge} needs --judge-model: which of its models to ask."
            )
        judge = OpenAiJudge(settings.judge, settings.judge_model)
        identity: dict[str, Any] = {"url": settings.judge, "model": settings.judge_model}
        return CachedJudge(answers, identity, lambda: (judge, None), settings.judge_model)
    if settings.judge_model:
        raise EvaluationError("--judge-model belongs to a --judge that is an address, http:// or https://.")
    model = find(settings.judge)

    def open() -> tuple[Judge, Pair]:
        pair = load((model,), options)
        return GgufJudge(pair, model.format), pair

    identity = {"models": model_identities([model]), "options": options.to_dict(), "versions": versions()}
    return CachedJudge(answers, identity, open, model.name or model.header.label)
