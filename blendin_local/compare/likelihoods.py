"""Score multiple-choice questions by the likelihood of the options.

Both models of a pair score the options once; every method and threshold is computed from that record. A
single model scores them in its own tokens. Records and likelihoods are cached with the answers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from blendin_local.compare.answers import Answers, digest
from blendin_local.compare.arms import Arm, ArmModel
from blendin_local.compare.divergence import Softmax
from blendin_local.compare.summary import Choices
from blendin_local.compare.writing import Load, TaskRun, model_identities, versions
from blendin_local.engine.language_model import ScoringModel
from blendin_local.engine.pair import Pair
from blendin_local.engine.prompts import Prompt, make_prompt
from blendin_local.errors import EvaluationError, PromptError
from blendin_local.settings import ModelOptions
from blendin_local.tasks.base import Item
from blendin_local.tune.record import Record, empty_record
from blendin_local.tune.scoring import ROWS, read_rows, score_texts

__all__ = ["choose", "own_bits", "reading_options"]

_FORMAT = 2
_BRANCHES = 8

Doubles = npt.NDArray[np.float64]
Progress = Callable[[str, int, int], None]
"""Called with the names of the models, the number of questions done, and their total."""


def reading_options(options: ModelOptions) -> ModelOptions:
    """Return options to score texts with: many rows of logits, and branches of one cache.

    They are the same for a single model and a pair, so that both score a text in the same decodes.
    """
    rows = max(1 + _BRANCHES, min(ROWS, options.n_batch))
    return replace(options, n_seq=1 + _BRANCHES, n_outputs=rows, shared_cache=True)


def choose(
    arms: Sequence[Arm],
    runs: Sequence[TaskRun],
    answers: Answers,
    load: Load,
    options: ModelOptions,
    progress: Progress | None = None,
) -> dict[tuple[str, str], Choices]:
    """Choose the likeliest option of every question with options, by (arm, task).

    Models are loaded only for questions that are not cached. Raises ModelError if a model fails,
    KeyboardInterrupt.
    """
    asked = [(run, item) for run in runs for item in run.items if _has_options(item)]
    found: dict[tuple[str, str], Choices] = {}
    if not asked:
        return found
    groups: dict[tuple[ArmModel, ...], list[Arm]] = {}
    for arm in arms:
        groups.setdefault(arm.models, []).append(arm)
    for models, group in groups.items():
        read = _OptionReader(models, answers, options)
        missing = [item for _, item in asked if not read.knows(item)]
        if missing:
            with closing(load(models, reading_options(options))) as pair:
                for done, item in enumerate(missing):
                    if progress:
                        progress(" + ".join(model.name for model in models), done, len(missing))
                    read.read(pair, item)
        for arm in group:
            for run in runs:
                if any(map(_has_options, run.items)):
                    found[arm.name, run.name] = _choose_options(arm, run.items, read)
    return found


def _has_options(item: Item) -> bool:
    return bool(item.options) and item.gold is not None


def _choose_options(arm: Arm, items: Sequence[Item], read: _OptionReader) -> Choices:
    whole, by_bytes = np.full((2, len(items)), np.nan)
    for index, item in enumerate(items):
        bits = read.bits(arm, item) if _has_options(item) else None
        if bits is not None:
            sizes = [max(1, len(option.encode("utf-8", "replace"))) for option in item.options]
            whole[index] = int(bits.argmin()) == item.gold
            by_bytes[index] = int((bits / sizes).argmin()) == item.gold
    return whole, by_bytes


@dataclass
class _OptionBits:
    """The options of one question: a pair's record, a single model's bits, or neither if they do not fit the
    context.
    """

    record: Record | None = None
    bits: Doubles | None = None


class _OptionReader:
    """Scores the options of questions with one pair or one single model, through the cache."""

    def __init__(self, models: tuple[ArmModel, ...], answers: Answers, options: ModelOptions) -> None:
        self._models = models
        self._answers = answers
        self._options = options
        self._known: dict[str, _OptionBits] = {}

    def knows(self, item: Item) -> bool:
        key = self._key(item)
        if key not in self._known and (kept := self._load_saved(key, len(item.options))) is not None:
            self._known[key] = kept
        return key in self._known

    def bits(self, arm: Arm, item: Item) -> Doubles | None:
        """Return float64[options]: -log2 of the probability of each; None if they could not be scored."""
        # Imported here because SciPy takes a second to import.
        from blendin_local.tune.setting_scores import bits_by_example

        known = self._known[self._key(item)]
        if known.record is not None:
            return bits_by_example(known.record, arm.settings.blend) if known.record.examples else None
        return known.bits

    def read(self, pair: Pair, item: Item) -> None:
        """Score a question's options and cache the result."""
        key = self._key(item)
        try:
            prompts = [
                make_prompt(model, each.format, item.messages)
                for model, each in zip((pair.base, pair.guide), self._models, strict=False)
            ]
            if len(self._models) == 1:
                bits = own_bits(pair.base, prompts[0], item.options)  # type: ignore[arg-type]
                self._known[key] = _OptionBits(bits=bits)
            else:
                copies = [[prompt] * len(item.options) for prompt in prompts]
                self._known[key] = _OptionBits(score_texts(pair, copies[0], copies[1], item.options))
        except (PromptError, EvaluationError):
            # A question that does not fit must not end the comparison.
            self._known[key] = _OptionBits(empty_record()) if len(self._models) > 1 else _OptionBits()
        self._save(key, self._known[key])

    def _load_saved(self, key: str, n_options: int) -> _OptionBits | None:
        """Return the cached options; None if they are missing or of an older format."""
        if len(self._models) > 1:
            record = self._answers.record(key)
            return _OptionBits(record) if record is not None and record.examples in (0, n_options) else None
        found = self._answers.measurement(key) or {}
        bits = found.get("bits", ())
        if bits is None:
            return _OptionBits()
        known = isinstance(bits, list) and all(isinstance(each, float) for each in bits)
        return _OptionBits(bits=np.array(bits)) if known and len(bits) == n_options else None

    def _save(self, key: str, known: _OptionBits) -> None:
        if known.record is not None:
            self._answers.save_record(key, known.record)
        else:
            bits = None if known.bits is None else known.bits.tolist()
            self._answers.save_measurement(key, {"bits": bits})

    def _key(self, item: Item) -> str:
        return digest(
            {
                "format": _FORMAT,
                "versions": versions(),
                "what": "options",
                "models": model_identities(self._models),
                "messages": [[message.role, message.content] for message in item.messages],
                "texts": list(item.options),
                "options": reading_options(self._options).to_dict(),
                "rows": ROWS,
            }
        )


def own_bits(model: ScoringModel, prompt: Prompt, texts: Sequence[str]) -> Doubles:
    """Return float64[texts]: -log2 of a model's probability of each text after a prompt, in its own tokens.

    The prompt is decoded once into an empty sequence, and each text in the same batches as in `score_text`,
    since logits depend slightly on the batches. Overwrites sequence 0. Raises EvaluationError if prompt and
    text do not fit the context.
    """
    nll = Softmax(len(model.vocabulary)).nll
    bits = np.zeros(len(texts))
    for index, text in enumerate(texts):
        tokens = model.tokenize(prompt.lead + text.encode("utf-8", "replace"))
        length = len(prompt.tokens) + len(tokens)
        if not tokens or length > model.n_ctx:
            raise EvaluationError(f"A text of {length} tokens does not fit the context of {model.name}.")
        for start, rows in read_rows(model, prompt, tokens, f"Option {index + 1}", again=index > 0):
            bits[index] += sum(map(nll, rows, tokens[start : start + len(rows)]))
    return bits / math.log(2)
