"""Judges: language models that score a reply from 1 to 5, behind an OpenAI-compatible endpoint or in a GGUF.

The prompts are those of just-eval-instruct, as in the paper's code. A judgement that cannot be parsed gives
no score, not a low one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from blendin_local.errors import EvaluationError
from blendin_local.settings import BlendSettings, GenerationSettings, SamplingSettings
from blendin_local.tasks.base import Item, Score, Task
from blendin_local.tasks.judge_questions import question_for

if TYPE_CHECKING:
    from blendin_local.engine.pair import Pair
    from blendin_local.engine.prompts import PromptFormat

__all__ = ["GgufJudge", "Judge", "judge_reply", "parse_judgement"]

JUDGE_TOKENS = 800
"""Token limit of a judgement: five short reasons and scores."""


class Judge(Protocol):
    """A judge of replies. name: the judge's name in reports."""

    @property
    def name(self) -> str: ...

    def ask(self, question: str) -> str:
        """Return the judge's reply, unread. Raises EvaluationError where none can be had."""
        ...


def judge_reply(judge: Judge, task: Task, item: Item, reply: str) -> Score:
    """Score a reply as the mean of a judge's scores on the task's aspects; None if they cannot be read."""
    if not task.aspects:
        raise EvaluationError(f"The task {task.name} is scored by rules and needs no judge.")
    scores = parse_judgement(judge.ask(question_for(task, item, reply)), task.aspects)
    if scores is None:
        return Score(None, "", "the judgement could not be read")
    shown = ", ".join(f"{aspect} {score}" for aspect, score in scores.items())
    return Score(sum(scores.values()) / len(scores), shown)


# Judgements

_FENCE = re.compile(r"```(?:json)?\s*(\{.*?\})\s*```", re.DOTALL)


def parse_judgement(text: str, aspects: Sequence[str]) -> dict[str, int] | None:
    """Return the score of every aspect from a judge's JSON; None unless all are integers from 1 to 5.

    The JSON may be fenced or surrounded by text; a score may be text, or the aspect's value itself.
    """
    document = _document(text)
    if document is None:
        return None
    by_name = {str(name).strip().lower(): value for name, value in document.items()}
    scores = {aspect: _score(by_name.get(aspect)) for aspect in aspects}
    return {aspect: score for aspect, score in scores.items() if score} if all(scores.values()) else None


def _document(text: str) -> Mapping[str, Any] | None:
    fenced = _FENCE.search(text)
    candidate = fenced[1] if fenced else text[max(0, text.find("{")) : text.rfind("}") + 1]
    try:
        found = json.loads(candidate, strict=False)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _score(found: Any) -> int | None:
    if isinstance(found, dict):
        found = found.get("score")
    if isinstance(found, str) and re.fullmatch(r"\s*[1-5](?:\.0)?\s*", found):
        found = float(found)
    if isinstance(found, bool) or not isinstance(found, (int, float)) or found not in (1, 2, 3, 4, 5):
        return None
    return int(found)


@dataclass(frozen=True, slots=True)
class GgufJudge:
    """A local judge with greedy decoding. pair: any pair; its base is the judge."""

    pair: Pair
    prompt_format: PromptFormat
    max_tokens: int = JUDGE_TOKENS

    @property
    def name(self) -> str:
        return self.pair.base.name

    def ask(self, question: str) -> str:
        # Imported here, because it loads the engine and most tasks need no judge.
        from blendin_local.engine.conversation import begin_reply
        from blendin_local.engine.prompts import Message

        settings = GenerationSettings(
            BlendSettings(method="base", guide_stop=False), SamplingSettings(), max_tokens=self.max_tokens
        )
        reply = begin_reply(self.pair, {"base": self.prompt_format}, [Message("user", question)], settings)
        for _ in reply:
            pass
        return reply.text
