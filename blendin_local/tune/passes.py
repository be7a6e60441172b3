"""Run a resumable pass over reference answers; a larger budget extends an earlier pass.

A checkpoint folder is identified by both model files, their options and formats, and the answers in order,
but not by the budget. It holds records in parts, and `progress.json` lists the valid ones. Missing or damaged
parts are measured again.
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
from blendin_local.files import read_json, write_text
from blendin_local.settings import ModelOptions
from blendin_local.tune.costs import Costs, measure_costs
from blendin_local.tune.examples import Example
from blendin_local.tune.record import Record, join_records, load_record, save_record
from blendin_local.tune.scoring import Text, score_text

__all__ = ["MakeText", "Measured", "PassCheckpoint", "finish_pass", "pass_key", "run_pass", "speed_key"]

MakeText = Callable[[Example], Text]
Progress = Callable[[int, int], None]
"""Called with the number of positions scored so far, and the budget."""

_FORMAT = 4
_SAVE_EVERY_S = 5.0
_LONGEST_PROGRESS = 1 << 30
_DECISIVE = ("n_ctx", "n_batch", "n_gpu_layers", "kv_type", "flash_attention", "swa_full")


@dataclass(frozen=True, slots=True)
class Measured:
    """A finished pass: its record, decode times and duration. skipped: one reason per unscorable example."""

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
    """Hash everything that identifies a pass, as the name of its folder.

    models: digests of both files. formats: both prompt templates, and the system prompt. options: only those
    that change probabilities, or which texts fit, are hashed.
    """
    asked = [asdict(example) for example in examples]
    # The batch size changes the last digits of logits, which small quantized models magnify.
    opened = _per_model(options, lambda each: [getattr(each, name) for name in _DECISIVE] + _placement(each))
    content = json.dumps([_FORMAT, __version__, versions, opened, [*models], [*formats], asked])
    return hashlib.sha256(content.encode()).hexdigest()[:32]


def speed_key(options: ModelOptions) -> str:
    """Return the options that change the decode times, as JSON."""

    def chosen(each: ModelOptions) -> dict[str, Any]:
        named = {name: getattr(each, name) for name in ("n_threads", "n_gpu_layers", "kv_type")}
        return named | ({"placement": placement} if (placement := _placement(each)) else {})

    return json.dumps(_per_model(options, chosen))


def _per_model(options: ModelOptions, chosen: Callable[[ModelOptions], Any]) -> Any:
    """Return what is chosen of the options; of each model where they differ."""
    base, guide = chosen(options.of("base")), chosen(options.of("guide"))
    return base if base == guide else {"base": base, "guide": guide}


def _placement(options: ModelOptions) -> list[Any]:
    """Return the options that place layers on devices; empty unless one is set."""
    placement = [options.main_gpu, options.tensor_split, options.device]
    return placement if placement != [-1, "", ""] else []


@dataclass
class PassCheckpoint:
    """The saved state of a pass.

    tokens: the number of positions of each finished example, in order; 0 if it could not be scored. skipped:
    one reason for each of the latter. parts: files of records, each with the number of examples finished by
    its end. speed: the `speed_key` that the costs belong to.
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
        """Read a folder, up to the first part that is missing or damaged."""
        checkpoint = cls(folder, speed)
        with suppress(Exception):  # a damaged file can hold anything
            found: dict[str, Any] = read_json(folder / "progress.json", longest=_LONGEST_PROGRESS)
            tokens = [int(count) for count in found["tokens"]]
            skipped = [str(reason) for reason in found["skipped"]]
            if min(tokens, default=0) < 0 or len(skipped) != tokens.count(0):
                return checkpoint
            parts = [(str(name), int(end)) for name, end in found["parts"]]
            costs = Costs.from_dict(found["costs"]) if found["costs"] and found["speed"] == speed else None
            checkpoint = cls(
                folder, speed, tokens, skipped, parts, seconds=float(found["seconds"]), costs=costs
            )
            checkpoint._read_parts()
        return checkpoint

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
        # Unscorable examples after the last part need no part of their own.
        done += len(list(takewhile(lambda count: count == 0, self.tokens[done:])))
        self.tokens = self.tokens[:done]
        self.skipped = self.skipped[: self.tokens.count(0)]

    def enough(self, examples: int, budget: int) -> int | None:
        """Return the number of examples that reach `budget` positions; None if more must be scored first."""
        total = 0
        for done, count in enumerate(self.tokens):
            if total >= budget:
                return done
            total += count
        return len(self.tokens) if total >= budget or len(self.tokens) >= examples else None

    def record(self, examples: int) -> Record:
        """Return the joined record of the first `examples` examples."""
        whole = join_records(self.records)
        scored = sum(count > 0 for count in self.tokens[:examples])
        return whole.select(range(scored)) if scored < whole.examples else whole

    def add(self, records: Sequence[Record]) -> None:
        """Save records, one for each scored example since the last call."""
        if records:
            done = self.parts[-1][1] if self.parts else 0
            # The name determines the content, so concurrent writers write the same file.
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
    checkpoint: PassCheckpoint,
    *,
    budget: int,
    progress: Progress | None = None,
    cancellation: Cancellation | None = None,
) -> None:
    """Score examples in order until they give `budget` positions, or all are scored; then measure the costs.

    An example that cannot be scored is skipped, with a reason. Scored examples are saved even if an error
    ends the pass. Raises `scoring.Cancelled`, ModelError, or OSError if the folder cannot be written.
    """
    scored: list[Record] = []
    begun = saved = perf_counter()
    before = checkpoint.seconds

    def save() -> None:
        nonlocal saved
        checkpoint.seconds = before + perf_counter() - begun
        checkpoint.add(scored)
        scored.clear()
        saved = perf_counter()

    if progress:
        progress(min(sum(checkpoint.tokens), budget), budget)
    try:
        while checkpoint.enough(len(examples), budget) is None:
            example = examples[len(checkpoint.tokens)]
            record = _score_or_skip(pair, example, make_text, checkpoint, cancellation)
            if record is not None:
                scored.append(record)
            checkpoint.tokens.append(0 if record is None else len(record))
            if progress:
                progress(min(sum(checkpoint.tokens), budget), budget)
            if perf_counter() - saved > _SAVE_EVERY_S:
                save()
    finally:
        save()
    if any(checkpoint.tokens):
        longest = max(range(len(checkpoint.tokens)), key=checkpoint.tokens.__getitem__)
        checkpoint.costs = measure_costs(pair, make_text(examples[longest]), cancellation)
        checkpoint.save()


def _score_or_skip(
    pair: Pair,
    example: Example,
    make_text: MakeText,
    checkpoint: PassCheckpoint,
    cancellation: Cancellation | None,
) -> Record | None:
    try:
        return score_text(pair, make_text(example), cancellation)
    except (EvaluationError, PromptError) as error:
        checkpoint.skipped.append(str(error))
        return None


def finish_pass(checkpoint: PassCheckpoint, examples: int, budget: int) -> Measured:
    """Return the finished pass. Raises EvaluationError if none of the examples could be scored."""
    count = checkpoint.enough(examples, budget)
    read = checkpoint.tokens[:count]
    record = checkpoint.record(len(read))
    skipped = tuple(checkpoint.skipped[: read.count(0)])
    if not len(record) or checkpoint.costs is None:
        reason = f": {skipped[0]}" if skipped else "."
        raise EvaluationError(f"None of the reference answers could be scored{reason}")
    return Measured(record, checkpoint.costs, checkpoint.seconds, skipped)
