"""The pass over reference answers, kept as it goes: begun again it goes on, asked for more it adds.

A folder belongs to two model files, how they are opened, their formats, and answers in an order; how many of
these are scored is not part of that. What was scored lies in parts, and `progress.json` says which of them
count. What is damaged there, or missing, is measured again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from itertools import takewhile
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from blendin_local import __version__
from blendin_local.engine.language_model import Cancellation
from blendin_local.engine.pair import Pair
from blendin_local.errors import EvaluationError, PromptError
from blendin_local.files import write_text
from blendin_local.settings import ModelOptions
from blendin_local.tune.costs import Costs, measure_costs
from blendin_local.tune.examples import Example
from blendin_local.tune.record import Record, join_records, load_record, save_record
from blendin_local.tune.scoring import Text, score_text

__all__ = ["MakeText", "Measured", "PassCheckpoint", "measured", "pass_key", "run_pass", "speed_key"]

MakeText = Callable[[Example], Text]
Progress = Callable[[int, int], None]
"""Called with the positions scored so far and those wanted."""

_FORMAT = 4
_SAVE_EVERY_S = 5.0
_DECISIVE = ("n_ctx", "n_batch", "n_gpu_layers", "kv_type", "flash_attention", "swa_full")


@dataclass(frozen=True, slots=True)
class Measured:
    """A pass: its record, what decodes cost in it, its seconds, and the examples that could not be scored."""

    record: Record
    costs: Costs
    seconds: float
    skipped: tuple[str, ...]


def pass_key(
    models: Sequence[str],
    formats: Sequence[str],
    examples: Sequence[Example],
    versions: str,
    options: ModelOptions,
) -> str:
    """The name of the folder of a pass.

    models: digests of both files. formats: both prompt templates, and the system prompt. options: how the
    models are opened, of which only counts what decides probabilities, or what fits.
    """
    asked = [asdict(example) for example in examples]
    # How tokens are cut into batches changes the last digits, and small quantized models magnify them.
    opened = [getattr(options, name) for name in _DECISIVE]
    content = json.dumps([_FORMAT, __version__, versions, opened, [*models], [*formats], asked])
    return hashlib.sha256(content.encode()).hexdigest()[:32]


def speed_key(options: ModelOptions) -> str:
    """What the costs of decodes depend on beside the models."""
    chosen = asdict(options)
    return json.dumps({name: chosen[name] for name in ("n_threads", "n_gpu_layers", "kv_type")})


@dataclass
class PassCheckpoint:
    """What is known of a pass so far.

    tokens: of each example in order, the positions that it gave, 0 where it could not be scored. skipped: why
    not, one sentence for each of these. parts: files of records, each with the number of examples that are
    done with it. speed: what the costs depend on (`speed_key`).
    """

    folder: Path
    speed: str = ""
    tokens: list[int] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    parts: list[tuple[str, int]] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    seconds: float = 0.0
    costs: Costs | None = None

    @classmethod
    def open(cls, folder: Path, speed: str = "") -> PassCheckpoint:
        """What a folder holds, up to the first part that is missing or damaged."""
        kept = cls(folder, speed)
        with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            found: dict[str, Any] = json.loads((folder / "progress.json").read_text("utf-8"))
            tokens = [int(count) for count in found["tokens"]]
            skipped = [str(reason) for reason in found["skipped"]]
            if min(tokens, default=0) < 0 or len(skipped) != tokens.count(0):
                return kept
            parts = [(str(name), int(end)) for name, end in found["parts"]]
            costs = Costs.from_dict(found["costs"]) if found["costs"] and found["speed"] == speed else None
            kept = cls(folder, speed, tokens, skipped, parts, seconds=float(found["seconds"]), costs=costs)
            kept._read_parts()
        return kept

    def _read_parts(self) -> None:
        listed, self.parts, done = self.parts, [], 0
        for name, end in listed:
            try:
                record = load_record(self.folder / name)
            except EvaluationError:
                break
            counts = np.bincount(record.example, minlength=record.examples).tolist()
            if counts != [count for count in self.tokens[done:end] if count]:
                break
            self.parts.append((name, end))
            self.records.append(record)
            done = end
        # What follows the last part could not be scored; that is known without one.
        done += len(list(takewhile(lambda count: count == 0, self.tokens[done:])))
        self.tokens = self.tokens[:done]
        self.skipped = self.skipped[: self.tokens.count(0)]

    def enough(self, examples: int, budget: int) -> int | None:
        """How many of the examples give `budget` positions; None where more must be scored for that."""
        total = 0
        for place, count in enumerate(self.tokens):
            if total >= budget:
                return place
            total += count
        return len(self.tokens) if total >= budget or len(self.tokens) >= examples else None

    def record(self, examples: int) -> Record:
        """The record of the first so many examples."""
        whole = join_records(self.records)
        scored = sum(count > 0 for count in self.tokens[:examples])
        return whole.select(range(scored)) if scored < whole.examples else whole

    def add(self, records: Sequence[Record]) -> None:
        """Keep records, one for each of the latest of `tokens` that were scored."""
        if records:
            done = self.parts[-1][1] if self.parts else 0
            # The name says what is in it: whoever else writes it writes the same.
            name = f"part-{done:05d}-{len(self.tokens):05d}.npz"
            joined = join_records(records)
            save_record(joined, self.folder / name)
            self.parts.append((name, len(self.tokens)))
            self.records.append(joined)
        self.save()

    def save(self) -> None:
        document = {
            "tokens": self.tokens,
            "skipped": self.skipped,
            "parts": self.parts,
            "seconds": self.seconds,
            "speed": self.speed,
            "costs": self.costs.as_dict() if self.costs else None,
        }
        write_text(self.folder / "progress.json", json.dumps(document))


def run_pass(
    pair: Pair,
    examples: Sequence[Example],
    make_text: MakeText,
    kept: PassCheckpoint,
    *,
    budget: int,
    progress: Progress | None = None,
    cancellation: Cancellation | None = None,
) -> None:
    """Score examples in order until they give `budget` positions, or all are scored; then measure the costs.

    An example that cannot be scored is skipped and named. Whatever ends this, what was scored is kept.
    Raises `scoring.Cancelled`, ModelError, or OSError where nothing can be kept.
    """
    scored: list[Record] = []
    begun = saved = perf_counter()
    before = kept.seconds

    def keep() -> None:
        nonlocal saved
        kept.seconds = before + perf_counter() - begun
        kept.add(scored)
        scored.clear()
        saved = perf_counter()

    if progress:
        progress(min(sum(kept.tokens), budget), budget)
    try:
        while kept.enough(len(examples), budget) is None:
            example = examples[len(kept.tokens)]
            record = _scored(pair, example, make_text, kept, cancellation)
            if record is not None:
                scored.append(record)
            kept.tokens.append(0 if record is None else len(record))
            if progress:
                progress(min(sum(kept.tokens), budget), budget)
            if perf_counter() - saved > _SAVE_EVERY_S:
                keep()
    finally:
        keep()
    if any(kept.tokens):
        longest = max(range(len(kept.tokens)), key=kept.tokens.__getitem__)
        kept.costs = measure_costs(pair, make_text(examples[longest]), cancellation)
        kept.save()


def _scored(
    pair: Pair, example: Example, make_text: MakeText, kept: PassCheckpoint, cancellation: Cancellation | None
) -> Record | None:
    try:
        return score_text(pair, make_text(example), cancellation)
    except (EvaluationError, PromptError) as error:
        kept.skipped.append(str(error))
        return None


def measured(kept: PassCheckpoint, examples: int, budget: int) -> Measured:
    """The finished pass. Raises EvaluationError where none of the examples could be scored."""
    count = kept.enough(examples, budget)
    read = kept.tokens[:count]
    record = kept.record(len(read))
    skipped = tuple(kept.skipped[: read.count(0)])
    if not len(record) or kept.costs is None:
        reason = f": {skipped[0]}" if skipped else "."
        raise EvaluationError(f"None of the reference answers could be scored{reason}")
    return Measured(record, kept.costs, kept.seconds, skipped)
