"""`blendin tune`: one pass over reference answers, and what every setting of a pair is worth."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from blendin_local.cli import INTERRUPTED
from blendin_local.cli.options import (
    flags_named,
    format_options,
    formats_of,
    model_options,
    model_options_of,
    pair_options,
)
from blendin_local.cli.outputs import check_distinct, check_writable, write_output
from blendin_local.cli.terminal import is_terminal
from blendin_local.errors import EvaluationError

if TYPE_CHECKING:
    from blendin_local.engine.prompts import PromptFormat
    from blendin_local.models.catalogue import Catalogue
    from blendin_local.models.entries import PairEntry
    from blendin_local.models.loading import PairFiles
    from blendin_local.preferences.preferences import Preferences
    from blendin_local.settings import ModelOptions
    from blendin_local.tune.examples import Example
    from blendin_local.tune.passes import Measured, PassCheckpoint
    from blendin_local.tune.result import TuneReport

BUDGET = 6000
"""Positions that are scored unless told otherwise: enough for intervals of about 2 % on the demo pair."""

_BRANCHES = 16
"""Sequences of the guide: one for the whole reply, the others for its short branches."""
_PAIR = ("name", "base", "guide", "base_fingerprint", "guide_fingerprint", "same_vocabulary")
_OUTPUTS = {"record": "--record", "markdown": "--markdown", "report": "--report"}
_OF_ANALYSIS = ("seed", "save", "name", "as_json", "report", "markdown", "from_record", "quiet")
_PIPED_WIDTH = 100
_FILE = click.Path(dir_okay=False)


@click.command()
@pair_options()
@click.option("--task", "-T", metavar="NAME", help="Learn from the worked answers of a task, such as gsm8k "
              "(docs/tasks.md); --data is its file.")  # fmt: skip
@click.option("--data", "-d", metavar="FILE", help="Reference answers: JSON lines with `prompt` or "
              "`messages`, and `response`.  [default: 80 answers that come with the package]")  # fmt: skip
@click.option("--shots", type=click.IntRange(0), default=0, show_default=True,
              help="With --task: worked examples before each question, from the same file.")  # fmt: skip
@click.option("--max-tokens", "-n", type=click.IntRange(1), default=BUDGET, show_default=True,
              help="Score so many tokens of the answers, whole answers only; more later adds.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True,
              help="Decides the order of the answers, and which half of them judges.")  # fmt: skip
@format_options
@click.option("--save", is_flag=True, help="Write setting, prior and calibration into your catalogue: chat "
              "and generate then use them for the pair.")  # fmt: skip
@click.option(
    "--name", metavar="NAME", help="With --save: the name to save the pair under.  [default: its own]"
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of tables.")
@click.option("--report", type=_FILE, metavar="FILE", help="Write a page with plots that needs no network "
              "(needs the extra 'report').")  # fmt: skip
@click.option("--markdown", type=_FILE, metavar="FILE", help="Write tables as Markdown.")
@click.option("--record", type=_FILE, metavar="FILE", help="Write what was measured at every position (npz).")
@click.option("--from", "from_record", type=_FILE, metavar="FILE",
              help="Analyse what --record wrote: takes a moment and no model.")  # fmt: skip
@click.option("--fresh", is_flag=True, help="Measure anew what an earlier run has measured.")
@click.option("--quiet", "-q", is_flag=True, help="No progress on stderr.")
@model_options
def tune(**values: Any) -> None:
    """Measure once what a pair says of reference answers, then price every method and threshold.

    Both models read the answers without writing anything. From that one pass follow bits per byte and
    expected speed of every setting, the best one, the pair's prior, calibrated reliabilities, and a verdict:
    blend, or use one model alone. What was measured is kept: stopped, the same command goes on.
    """
    _check(values)

    from blendin_local.models.catalogue import load_catalogue
    from blendin_local.preferences.preferences import load_preferences

    catalogue, preferences = load_catalogue(), load_preferences()
    if values["from_record"]:
        entry, measured, about = _read_record(Path(values["from_record"]), catalogue)
        name = _saved_name(entry, values)
    else:
        from blendin_local.models.loading import name_pair

        entry = name_pair(catalogue, values["pair"], values["base"], values["guide"])
        name = _saved_name(entry, values)
        measured, about = _measured(catalogue, entry, preferences, values)

    from blendin_local.tune.tuning import describe, tuned_entry

    level = preferences.chat.hint_rate
    result = describe(measured, seed=values["seed"], hint_level=level, **about)
    if values["record"]:
        _write_record(Path(values["record"]), measured, about)
    _write(result, values)
    _print(result, values)
    if values["save"]:
        from blendin_local.models.catalogue_writer import save_pair

        file = save_pair(tuned_entry(entry, result, name))
        if not values["quiet"]:
            click.secho(f"Saved as the pair {name} in {file}: chat and generate use it.", err=True, dim=True)


def _check(values: Mapping[str, Any]) -> None:
    """Everything that can be refused before files are read and models loaded."""
    if values["from_record"]:
        _check_analysis_only()
    if values["task"] and not values["data"]:
        raise EvaluationError(f"--task {values['task']} needs the file of its questions: add --data FILE.")
    if values["shots"] and not values["task"]:
        raise EvaluationError("--shots belongs to --task, whose file has the worked examples: give both.")
    if values["name"] and not values["save"]:
        raise EvaluationError("--name belongs to --save: give both.")
    for name, flag in _OUTPUTS.items():
        if values[name]:
            check_writable(flag, Path(values[name]))
    outputs = {flag: values[name] for name, flag in _OUTPUTS.items()}
    check_distinct(outputs, (values["data"], values["from_record"]))
    if values["report"]:
        from blendin_local.presentation.html_page import check_available

        check_available()


def _check_analysis_only() -> None:
    """Refuse options that decide what is measured: a record was measured already."""
    context = click.get_current_context()
    for param in context.command.params:
        typed = context.get_parameter_source(param.name or "") is ParameterSource.COMMANDLINE
        if typed and param.name not in _OF_ANALYSIS:
            flag = max(param.opts, key=len)
            raise EvaluationError(f"{flag} has no effect with --from: a record is what was measured.")


def _saved_name(entry: PairEntry, values: Mapping[str, Any]) -> str:
    """What --save will call the pair; nothing without it."""
    if not values["save"]:
        return ""

    from blendin_local.models.catalogue import is_name

    name = values["name"] or entry.name
    if not name:
        raise EvaluationError("These two models have no name as a pair yet: add --name NAME to --save.")
    if not is_name(name):
        raise EvaluationError(f"--name may hold only letters, digits and . _ -, not {name!r}.")
    return str(name)


# The pass


def _measured(
    catalogue: Catalogue, entry: PairEntry, preferences: Preferences, values: Mapping[str, Any]
) -> tuple[Measured, dict[str, Any]]:
    """The pass over the reference answers, as far as it is not kept from before, and what it was made of."""
    from blendin_local.engine.prompts import choose_format
    from blendin_local.files import cache_dir
    from blendin_local.llamacpp.library import version
    from blendin_local.models.checksums import file_digest
    from blendin_local.models.compatibility import same_vocabulary
    from blendin_local.models.loading import locate_pair
    from blendin_local.tune.examples import shuffled
    from blendin_local.tune.passes import PassCheckpoint, measured, pass_key, speed_key
    from blendin_local.tune.tuning import machine, portable

    options = model_options_of(values, preferences.models)
    examples, source = _examples(values)
    examples = shuffled(examples, values["seed"])
    files = locate_pair(catalogue, entry)
    digests = [file_digest(header.path) for header in (files.base, files.guide)]
    names = formats_of(values, preferences.formats)
    formats = [
        choose_format(names.base, files.base.chat_template),
        choose_format(names.guide, files.guide.chat_template),
    ]
    system = values["system"] or ""
    key = pass_key(digests, [repr(each) for each in formats] + [system], examples, version, options)
    folder, speed = cache_dir() / "records" / key, speed_key(options)
    kept = PassCheckpoint(folder, speed) if values["fresh"] else PassCheckpoint.open(folder, speed)
    if kept.enough(len(examples), values["max_tokens"]) is None or kept.costs is None:
        _run(files, options, examples, formats, system, kept, values)
    elif not values["quiet"]:
        click.secho("Measured by an earlier run; --fresh measures anew.", err=True, dim=True)
    about = {
        "pair": {
            "name": entry.name,
            "base": portable(entry.base),
            "guide": portable(entry.guide),
            "base_fingerprint": digests[0],
            "guide_fingerprint": digests[1],
            "same_vocabulary": same_vocabulary(files.base, files.guide),
        },
        "source": source,
        "versions": machine(version),
    }
    found = measured(kept, len(examples), values["max_tokens"])
    if found.skipped and not values["quiet"]:
        count = len(found.skipped)
        left_out = "1 answer was left out" if count == 1 else f"{count} answers were left out"
        click.secho(f"{left_out}. {found.skipped[0]}", err=True, fg="yellow")
    return found, about


def _examples(values: Mapping[str, Any]) -> tuple[list[Example], str]:
    """The reference answers, and what to call them."""
    from blendin_local.tune.examples import built_in_examples, examples_of, read_examples

    if values["task"]:
        from blendin_local.tasks import left_out, load_items, task_named

        task, data = task_named(values["task"]), values["data"]
        items = load_items(task, data, shots=values["shots"], seed=values["seed"])
        if not values["quiet"] and (lost := left_out(task, data)):
            click.secho(lost, err=True, fg="yellow")
        return examples_of(items, task.name), f"{task.name}: {data}"
    if values["data"]:
        return read_examples(Path(values["data"])), values["data"]
    return built_in_examples(), "the built-in answers"


def _run(
    files: PairFiles,
    options: ModelOptions,
    examples: list[Example],
    formats: list[PromptFormat],
    system: str,
    kept: PassCheckpoint,
    values: Mapping[str, Any],
) -> None:
    from dataclasses import replace

    from blendin_local.cli.loaded import loaded
    from blendin_local.cli.pass_progress import pass_progress
    from blendin_local.engine.interrupt import interrupting
    from blendin_local.engine.language_model import Cancellation
    from blendin_local.engine.prompts import Message, make_prompt
    from blendin_local.tune.passes import run_pass
    from blendin_local.tune.scoring import ROWS, Cancelled, Text

    options = replace(options, n_seq=_BRANCHES, n_outputs=ROWS, shared_cache=True)
    cancellation = Cancellation()
    with flags_named(), loaded(files, options, quiet=values["quiet"]) as pair:

        def make_text(example: Example) -> Text:
            messages = example.messages
            if system and messages[0].role != "system":
                messages = (Message("system", system), *messages)
            base, guide = pair.base, pair.guide
            prompts = (make_prompt(base, formats[0], messages), make_prompt(guide, formats[1], messages))
            return Text(example.id, *prompts, example.response)

        with (
            pass_progress(quiet=values["quiet"]) as progress,
            interrupting(cancellation.cancel),
            suppress(Cancelled),
        ):
            run_pass(
                pair, examples, make_text, kept,
                budget=values["max_tokens"], progress=progress, cancellation=cancellation,
            )  # fmt: skip
    if cancellation.requested:
        done = sum(kept.tokens)
        command = "the same command without --fresh" if values["fresh"] else "the same command"
        said = f"Stopped after {done} positions: they are kept, and {command} goes on from there."
        click.echo(said, err=True)
        sys.exit(INTERRUPTED)


# Records as files


def _write_record(path: Path, measured: Measured, about: Mapping[str, Any]) -> None:
    from blendin_local.presentation.plain_data import to_json
    from blendin_local.tune.record import save_record

    notes = {**about, "costs": measured.costs.as_dict(), "seconds": measured.seconds}
    try:
        save_record(measured.record, path, to_json({**notes, "skipped": measured.skipped}))
    except OSError as error:
        raise EvaluationError(f"{path} cannot be written ({error.strerror or error}).") from error


def _read_record(path: Path, catalogue: Catalogue) -> tuple[PairEntry, Measured, dict[str, Any]]:
    """The pair of a record that was written as a file, and what was measured."""
    import json

    from blendin_local.models.loading import name_pair
    from blendin_local.tune.costs import Costs
    from blendin_local.tune.passes import Measured
    from blendin_local.tune.record import load_noted_record
    from blendin_local.tune.tuning import portable

    record, notes = load_noted_record(path)
    try:
        about = json.loads(notes)
        costs = Costs.from_dict(about["costs"])
        measured = Measured(record, costs, float(about["seconds"]), tuple(map(str, about["skipped"])))
        pair = {name: about["pair"][name] for name in _PAIR}
        name, models = str(pair["name"]), (str(pair["base"]), str(pair["guide"]))
        about = {"pair": pair, "source": str(about["source"]), "versions": dict(about["versions"])}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise EvaluationError(f"{path} is a record without its notes: write it with --record.") from error
    known = catalogue.pairs.get(name)
    same = known is not None and (portable(known.base), portable(known.guide)) == models
    entry = known if known and same else name_pair(catalogue, None, *models)
    return entry, measured, about


# What comes out


def _write(result: TuneReport, values: Mapping[str, Any]) -> None:
    if values["markdown"]:
        from blendin_local.tune.report_text import tune_markdown

        write_output(Path(values["markdown"]), tune_markdown(result))
    if values["report"]:
        from blendin_local.tune.report_page import tune_page

        write_output(Path(values["report"]), tune_page(result))


def _print(result: TuneReport, values: Mapping[str, Any]) -> None:
    if values["as_json"]:
        from blendin_local.presentation.plain_data import to_json

        click.echo(to_json(result.to_dict()))
        return

    from rich.console import Console

    from blendin_local.cli.tables import print_parts
    from blendin_local.tune.report_text import print_tune

    seen = is_terminal(sys.stdout)
    print_parts(*print_tune(result, Console().width if seen else _PIPED_WIDTH, seen))
