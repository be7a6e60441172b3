"""Run `tune`: read reference answers, run or resume the pass, and report it."""

from __future__ import annotations

import json
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from blendin_local.engine.interrupt import interrupting
from blendin_local.engine.language_model import Cancellation
from blendin_local.engine.pair import Pair
from blendin_local.engine.prompts import Message, PromptFormat, make_prompt
from blendin_local.engine.steps import HINT_RATE
from blendin_local.errors import EvaluationError
from blendin_local.files import cache_dir, parse_json
from blendin_local.formats import Formats
from blendin_local.llamacpp.library import version
from blendin_local.models.catalogue import Catalogue, is_name
from blendin_local.models.catalogue_writer import save_pair
from blendin_local.models.checksums import file_digest
from blendin_local.models.compatibility import same_vocabulary
from blendin_local.models.entries import PairEntry
from blendin_local.models.loading import PairFiles, name_pair, open_pair
from blendin_local.presentation.plain_data import to_json
from blendin_local.presentation.progress_display import hash_progress
from blendin_local.progress import Progress, Watcher
from blendin_local.settings import ModelOptions
from blendin_local.tasks import describe_left_out, find_task, load_items
from blendin_local.tune import BUDGET
from blendin_local.tune.costs import Costs
from blendin_local.tune.examples import Example, built_in_examples, examples_of, read_examples, shuffled
from blendin_local.tune.passes import Measured, PassCheckpoint, finish_pass, pass_key, run_pass, speed_key
from blendin_local.tune.record import load_noted_record, save_record
from blendin_local.tune.result import TuneReport
from blendin_local.tune.scoring import ROWS, Cancelled, Text
from blendin_local.tune.tuning import describe, machine, portable, tuned_entry

__all__ = [
    "PassStopped",
    "ReferenceAnswers",
    "TunePass",
    "TuneRequest",
    "TuneResult",
    "load_pass",
    "read_references",
    "run_tune_pass",
    "save_pass",
    "saved_name",
]

_BRANCHES = 16
"""Sequences of the guide: one for the trunk, the others for branches (`scoring`)."""
_PAIR = ("name", "base", "guide", "base_fingerprint", "guide_fingerprint", "same_vocabulary")


class PassStopped(KeyboardInterrupt):
    """Ctrl-C stopped a pass. positions: the number scored and saved."""

    def __init__(self, positions: int) -> None:
        super().__init__(f"Stopped after {positions} positions: they are kept, and tuning again goes on.")
        self.positions = positions


@dataclass(frozen=True, slots=True)
class ReferenceAnswers:
    """Reference answers. source: their name in a report."""

    examples: tuple[Example, ...]
    source: str


@dataclass(frozen=True, slots=True)
class TuneRequest:
    """A request for a pass over reference answers.

    budget: positions to score, in whole answers. seed: of the order of the answers. fresh: ignore an earlier
    pass.
    """

    files: PairFiles
    references: ReferenceAnswers
    options: ModelOptions = field(default_factory=ModelOptions)
    formats: Formats = field(default_factory=Formats)
    system: str = ""
    budget: int = BUDGET
    seed: int = 0
    fresh: bool = False


@dataclass(frozen=True, slots=True)
class TunePass:
    """A finished pass over a pair, and its inputs.

    pair: the pair's names and digests, and whether both share a vocabulary. versions: of the programs.
    """

    entry: PairEntry
    measured: Measured
    pair: dict[str, Any]
    source: str
    versions: dict[str, str]

    def analyse(self, *, seed: int = 0, hint_level: float = HINT_RATE) -> TuneResult:
        """Score every setting and calibrate both models.

        seed: of the split into halves. hint_level: the intervention rate above which the hint warns. Raises
        EvaluationError for a record without text.
        """
        report = describe(
            self.measured,
            pair=self.pair,
            source=self.source,
            versions=self.versions,
            seed=seed,
            hint_level=hint_level,
        )
        return TuneResult(self, report)


@dataclass(frozen=True, slots=True)
class TuneResult:
    """The report of a pass (docs/tune.md), and the pass itself."""

    tuned: TunePass
    report: TuneReport

    def to_dict(self) -> dict[str, Any]:
        """Return the document that `blendin tune --json` prints."""
        return self.report.to_dict()

    def to_markdown(self) -> str:
        """Return the report as Markdown tables."""
        from blendin_local.tune.report_text import tune_markdown

        return tune_markdown(self.report)

    def to_html(self) -> str:
        """Return an offline HTML page with plots. Raises EvaluationError without the extra "report"."""
        from blendin_local.tune.report_page import tune_page

        return tune_page(self.report)

    def save(self, name: str = "") -> Path:
        """Save the recommended setting and the calibration in the user's catalogue, and return its path.

        name: defaults to the pair's own. Raises EvaluationError if the pair has none, or if there were too
        few answers.
        """
        return save_pair(tuned_entry(self.tuned.entry, self.report, saved_name(self.tuned.entry, name)))


def saved_name(entry: PairEntry, name: str = "") -> str:
    """Choose the name to save a pair under: its own by default. Raises EvaluationError if it is invalid."""
    name = name or entry.name
    if not name:
        raise EvaluationError("These two models have no name as a pair yet: add --name NAME to --save.")
    if not is_name(name):
        raise EvaluationError(f"--name may hold only letters, digits and . _ -, not {name!r}.")
    return name


def read_references(
    data: str | Path | None = None,
    task: str | None = None,
    *,
    shots: int = 0,
    seed: int = 0,
    watcher: Watcher | None = None,
) -> ReferenceAnswers:
    """Read reference answers from a file, from a task's questions in a file, or those of the package.

    Raises EvaluationError if they cannot be read.
    """
    if task and data:
        known, source = find_task(task), str(data)
        items = load_items(known, source, shots=shots, seed=seed)
        if watcher and (lost := describe_left_out(known, source)):
            watcher.note(lost)
        return ReferenceAnswers(tuple(examples_of(items, known.name)), f"{known.name}: {source}")
    if task:
        raise EvaluationError(f"--task {task} needs the file of its questions: add --data FILE.")
    if data:
        return ReferenceAnswers(tuple(read_examples(Path(data))), str(data))
    return ReferenceAnswers(tuple(built_in_examples()), "the built-in answers")


def run_tune_pass(request: TuneRequest, watcher: Watcher) -> TunePass:
    """Run the pass over the reference answers, or the rest of a saved one.

    Raises PassStopped at Ctrl-C, EvaluationError if no answer can be scored, ModelError, PromptError.
    """
    files = request.files
    options = files.options(request.options)
    entry = files.entry
    examples = shuffled(request.references.examples, request.seed)
    hashing = hash_progress(watcher)
    digests = [file_digest(header.path, hashing) for header in (files.base, files.guide)]
    formats = request.formats
    if formats.thinking == "auto":
        # Reference answers begin without a thinking.
        formats = replace(formats, thinking="off")
    chosen = files.prompt_formats(formats)
    prompt_formats = chosen["base"], chosen["guide"]
    added = [json.dumps(form.additions, sort_keys=True) for form in prompt_formats if form.additions]
    asked = [*map(repr, prompt_formats), request.system, *added]
    folder = cache_dir() / "records" / pass_key(digests, asked, examples, version, options)
    speed = speed_key(options)
    checkpoint = PassCheckpoint(folder, speed) if request.fresh else PassCheckpoint.open(folder, speed)
    if checkpoint.enough(len(examples), request.budget) is None or checkpoint.costs is None:
        _score(request, examples, prompt_formats, checkpoint, watcher)
    else:
        watcher.note("Measured by an earlier run; --fresh measures anew.")
    found = finish_pass(checkpoint, len(examples), request.budget)
    if count := len(found.skipped):
        left_out = "1 answer was left out" if count == 1 else f"{count} answers were left out"
        watcher.note(f"{left_out}. {found.skipped[0]}")
    pair = {
        "name": entry.name,
        "base": portable(entry.base),
        "guide": portable(entry.guide),
        "base_fingerprint": digests[0],
        "guide_fingerprint": digests[1],
        "same_vocabulary": same_vocabulary(files.base, files.guide),
    }
    return TunePass(entry, found, pair, request.references.source, machine(version))


def _score(
    request: TuneRequest,
    examples: list[Example],
    formats: tuple[PromptFormat, PromptFormat],
    checkpoint: PassCheckpoint,
    watcher: Watcher,
) -> None:
    """Load the pair and score the answers that the checkpoint lacks. Raises PassStopped."""
    options = replace(request.options, n_seq=_BRANCHES, n_outputs=ROWS, shared_cache=True)
    cancellation = Cancellation()
    with (
        closing(open_pair(request.files, options, watcher)) as pair,
        interrupting(cancellation.cancel),
        suppress(Cancelled),
    ):
        run_pass(
            pair,
            examples,
            lambda example: _text(pair, formats, request.system, example),
            checkpoint,
            budget=request.budget,
            progress=lambda done, total: watcher.progress(
                Progress("reading answers", done, total, "positions")
            ),
            cancellation=cancellation,
        )
    if cancellation.requested:
        raise PassStopped(sum(checkpoint.tokens))


def _text(pair: Pair, formats: tuple[PromptFormat, PromptFormat], system: str, example: Example) -> Text:
    messages = example.messages
    if system and messages[0].role != "system":
        messages = (Message("system", system), *messages)
    prompts = (make_prompt(pair.base, formats[0], messages), make_prompt(pair.guide, formats[1], messages))
    return Text(example.id, *prompts, example.response)


# Passes as files


def save_pass(tuned: TunePass, path: Path) -> None:
    """Write a pass as one file, for `load_pass`. Raises EvaluationError."""
    measured = tuned.measured
    notes = {
        "pair": tuned.pair,
        "source": tuned.source,
        "versions": tuned.versions,
        "costs": measured.costs.as_dict(),
        "seconds": measured.seconds,
        "skipped": measured.skipped,
    }
    try:
        save_record(measured.record, path, to_json(notes))
    except OSError as error:
        raise EvaluationError(f"{path} cannot be written ({error.strerror or error}).") from error


def load_pass(path: Path, catalogue: Catalogue) -> TunePass:
    """Read a pass that `save_pass` wrote. Raises EvaluationError."""
    record, notes = load_noted_record(path)
    try:
        about = parse_json(notes)
        costs = Costs.from_dict(about["costs"])
        found = Measured(record, costs, float(about["seconds"]), tuple(map(str, about["skipped"])))
        pair = {name: about["pair"][name] for name in _PAIR}
        name, models = str(pair["name"]), (str(pair["base"]), str(pair["guide"]))
        source, versions = str(about["source"]), dict(about["versions"])
    except Exception as error:  # notes of another program can be anything
        raise EvaluationError(f"{path} is a record without its notes: write it with --record.") from error
    known = catalogue.pairs.get(name)
    same = known is not None and (portable(known.base), portable(known.guide)) == models
    entry = known if known and same else name_pair(catalogue, None, *models)
    return TunePass(entry, found, pair, source, versions)
