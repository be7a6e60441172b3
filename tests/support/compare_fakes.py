"""Parts of a comparison made by hand: headers, arms, tasks, answers, and fake models to write them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from blendin_local.compare.answers import Answer
from blendin_local.compare.arms import ALONE, Arm, ArmModel
from blendin_local.compare.summary import Results
from blendin_local.compare.writing import TaskRun
from blendin_local.engine.language_model import LanguageModel
from blendin_local.engine.pair import Pair, pair_models
from blendin_local.engine.prompts import PLAIN_FORMATS, Message
from blendin_local.engine.steps import Summary
from blendin_local.llamacpp.header import GgufHeader
from blendin_local.settings import BlendSettings, GenerationSettings, ModelOptions
from blendin_local.tasks.base import Item, Score, Task, right_or_wrong
from support.fakes import FakeModel, Mind, words_and_bytes


def header_of(
    name: str, *, architecture: str = "llama", title: str = "", vocabulary: str = "v"
) -> GgufHeader:
    return GgufHeader(
        path=Path(f"/models/{name}.gguf"), size_bytes=1000, split_count=1, architecture=architecture,
        name=title or name, quantization="Q8_0", n_params=10, n_ctx_train=512, n_layer=1, n_embd=8, n_ff=8,
        n_head=1, n_head_kv=(1,), key_length=8, value_length=8, sliding_window=0, windowed=(False,),
        recurrent_size=0, n_vocab=300, tokenizer_model="llama", tokenizer_pre="", chat_template=None,
        fingerprint=vocabulary, unusable="",
    )  # fmt: skip


def model_of(name: str, **header: Any) -> ArmModel:
    return ArmModel(name, header_of(name, **header), f"sha256 of {name}", PLAIN_FORMATS["question-answer"])


def single(name: str, kind: Any = "base", **header: Any) -> Arm:
    base, guide = (None, model_of(name, **header)) if kind == "guide" else (model_of(name, **header), None)
    return Arm(name, kind, base, guide, GenerationSettings(ALONE))


def blend(base: Arm, guide: Arm, name: str = "", **settings: Any) -> Arm:
    (first,), (second,) = base.models, guide.models
    made = GenerationSettings(BlendSettings(**settings))
    name = name or f"{base.name}+{guide.name} {made.blend.method}"
    return Arm(name, "pair", first, second, made, f"{base.name}+{guide.name}")


def item_of(ident: str, question: str = "", answer: str = "yes", **more: Any) -> Item:
    return Item(ident, (Message("user", question or f"question {ident}"),), answer, **more)


def task_of(score: Callable[[Item, str], Score] | None = None, **more: Any) -> Task:
    """Right where the reply holds the item's answer."""

    def holds(item: Item, reply: str) -> Score:
        return right_or_wrong(item.answer in reply, reply[:20])

    return Task("made", "for tests", "accuracy", lambda row: Item("", ()), score or holds, **more)


def run_of(
    items: Sequence[Item], task: Task | None = None, name: str = "made", max_tokens: int = 12
) -> TaskRun:
    return TaskRun(name, task or task_of(), tuple(items), "made.jsonl", max_tokens)


def answer_of(text: str = "yes", reason: str = "stop", **figures: Any) -> Answer:
    """An answer of ten steps in one second after the first, unless figures say otherwise."""
    counts = {name: figures.pop(name, 0) for name in ("words", "guide_words", "changed")}
    ranks, masses = figures.pop("ranks", ()), figures.pop("masses", ())
    summary = Summary().as_dict() | {"steps": 10, "tokens": 10} | figures
    timings = {"base_s": 0.0, "guide_s": 0.0, "blend_s": 0.0, "first_token_s": 0.5, "total_s": 1.5}
    return Answer(text, reason, summary, timings, counts, ranks, masses, 1000)


def results_of(table: dict[str, dict[str, list[float | None]]], **answers: Any) -> Results:
    """Scores by arm and task, for the questions "0", "1" and on; every answer is alike."""
    scores = {
        (arm, task, str(place)): Score(value, f"{value}")
        for arm, tasks in table.items()
        for task, values in tasks.items()
        for place, value in enumerate(values)
    }
    return Results({key: answer_of(**answers) for key in scores}, scores, {})


class Loader:
    """Loads fakes, and remembers which models were asked for."""

    def __init__(self, minds: dict[str, Mind], before_decode: Callable[[int], None] | None = None) -> None:
        self.loads: list[tuple[str, ...]] = []
        self.decodes = 0
        self.opened: list[Pair] = []
        self._minds = minds
        self._before = before_decode or (lambda number: None)

    def __call__(self, models: tuple[ArmModel, ...], options: ModelOptions) -> Pair:
        self.loads.append(tuple(model.name for model in models))
        made: list[LanguageModel] = [self._model(model.name) for model in models]
        self.opened.append(pair_models(made[0], made[-1] if len(made) > 1 else self._model(models[0].name)))
        return self.opened[-1]

    def _model(self, name: str) -> FakeModel:
        model = FakeModel(VOCABULARY, self._minds[name], name=name, n_ctx=512)
        model.before_decode = self._count
        return model

    def _count(self, number: int) -> None:
        self.decodes += 1
        self._before(self.decodes)


VOCABULARY = words_and_bytes("_yes _no _may be _the _sky _is _blue Question Answer : ?")
