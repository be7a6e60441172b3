"""`blendin compare`: pairs, methods and single models side by side on tasks."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from blendin_local.cli import INTERRUPTED
from blendin_local.cli.compare_options import (
    arm_options,
    output_options,
    run_options,
    task_options,
    text_options,
)
from blendin_local.cli.options import (
    flags_named,
    format_options,
    formats_of,
    model_options,
    model_options_of,
    sampling_options,
)
from blendin_local.cli.outputs import check_distinct, check_writable, write_output
from blendin_local.errors import EvaluationError
from blendin_local.safe_text import encodable

if TYPE_CHECKING:
    from blendin_local.cli.compare_progress import CompareProgress
    from blendin_local.compare.answers import Answers
    from blendin_local.compare.judging import KeptJudge
    from blendin_local.compare.result import CompareReport
    from blendin_local.compare.run import Comparison
    from blendin_local.compare.writing import Load

_LONGEST_TEXT = 1 << 28  # bytes; a device such as /dev/zero never ends
_OUTPUTS = {
    "csv_file": "--csv",
    "markdown_file": "--markdown",
    "report_file": "--report",
    "answers_file": "--answers",
}


@click.command()
@click.argument("plan", required=False, type=click.Path(dir_okay=False), metavar="[PLAN.toml]")
@arm_options
@sampling_options
@format_options
@task_options
@run_options
@text_options
@model_options
@output_options
def compare(**values: Any) -> None:
    """Compare pairs, methods and single models on tasks, with honest statistics.

    The base alone and the guide alone of every pair stand in the table. Decoding is greedy unless
    --temperature says otherwise. Every answer is kept: a comparison that is stopped or extended goes on
    where it was, and a changed setting never meets an old answer. Arms, tasks and settings can also come
    from a PLAN (docs/compare.md); what is typed wins over it.
    """
    _check_outputs(values)

    from blendin_local.cli.compare_progress import CompareProgress
    from blendin_local.compare.answers import Answers, answers_file

    with closing(Answers(answers_file(), fresh=values["fresh"])) as answers:
        try:
            with CompareProgress(quiet=values["quiet"] or False) as progress:
                found = _found(values, answers, progress)
        except KeyboardInterrupt:
            again = "the same command without --fresh" if values["fresh"] else "the same command"
            click.echo(f"Stopped: what was finished is kept, and {again} goes on from there.", err=True)
            sys.exit(INTERRUPTED)
    for warning in _warnings(found):
        click.secho(warning, err=True, fg="yellow")
    _write(found, values)
    _print(found, values)


def _found(values: Mapping[str, Any], answers: Answers, progress: CompareProgress) -> CompareReport:
    from blendin_local.compare.loading import offloads
    from blendin_local.compare.run import compare as run
    from blendin_local.engine.interrupt import interrupting

    load = _loader(progress)
    comparison, judge = _checked(values, answers, progress, load)
    with closing(judge) if judge else nullcontext():
        return run(
            comparison,
            answers,
            load,
            judge=judge.score if judge else None,
            watcher=progress,
            interruptible=interrupting,
            tell_peak=not offloads(comparison.options),
        )


def _checked(
    values: Mapping[str, Any], answers: Answers, progress: CompareProgress, load: Load
) -> tuple[Comparison, KeptJudge | None]:
    """Everything that was typed or planned, read and checked; what takes longest comes last."""
    from blendin_local.cli.compare_specs import arm_wishes, run_settings, task_wishes
    from blendin_local.compare.arms import find_model, make_arms
    from blendin_local.compare.judging import make_judge
    from blendin_local.compare.plan import Plan, read_plan
    from blendin_local.compare.run import Comparison, draw_tasks
    from blendin_local.models.catalogue import load_catalogue
    from blendin_local.models.checksums import file_digest, model_files
    from blendin_local.preferences.preferences import load_preferences
    from blendin_local.tasks import left_out

    catalogue, preferences = load_catalogue(), load_preferences()
    formats = formats_of(values, preferences.formats)
    options = model_options_of(values, preferences.models)
    plan = read_plan(Path(values["plan"]), formats) if values["plan"] else Plan()
    settings = run_settings(plan.run, values)
    usual = "" if plan.arms else preferences.chat.pair
    wishes = [*plan.arms, *arm_wishes(values, formats, usual)]
    tasks = [*plan.tasks, *task_wishes(values["tasks"], values["data"], values["datasets"])]
    outputs = _outputs(values, several=bool(tasks and settings.text))
    check_distinct(outputs, [values["plan"], settings.text, answers.path, *(task.data for task in tasks)])
    runs = draw_tasks(tasks, settings)
    for each in runs:
        if lost := left_out(each.task, each.source):
            click.secho(lost, err=True, fg="yellow")
    text = _read_text(settings.text) if settings.text else b""

    def identify(path: Path) -> str:
        return file_digest(path, progress.hashing)

    judge = make_judge(settings, runs, answers, load, options, partial(find_model, catalogue, identify))
    with flags_named():
        arms = make_arms(wishes, catalogue, identify)
    models = (model.header.path for arm in arms for model in arm.models)
    check_distinct(outputs, [part for path in models for part in model_files(path)])
    return Comparison.of(arms, runs, settings, options, text, preferences.chat.hint_rate), judge


def _loader(progress: CompareProgress) -> Load:
    from blendin_local.cli.loaded import stoppable
    from blendin_local.compare.arms import ArmModel
    from blendin_local.compare.loading import load_models
    from blendin_local.engine.pair import Pair
    from blendin_local.models import memory_estimate
    from blendin_local.settings import ModelOptions

    def load(models: tuple[ArmModel, ...], options: ModelOptions) -> Pair:
        estimates = (memory_estimate.estimate(model.header, options) for model in models)
        if warning := memory_estimate.warning(*estimates):
            click.secho(warning, err=True, fg="yellow")
        shown = progress.loading(" + ".join(model.name or model.header.label for model in models))
        return stoppable(lambda report: load_models(models, options, report), shown)

    return load


def _read_text(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            text = stream.read(_LONGEST_TEXT + 1)
        text.decode("utf-8")
    except OSError as error:
        raise EvaluationError(f"The text {path} cannot be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise EvaluationError(f"The text {path} is not UTF-8 at byte {error.start}: convert it.") from error
    if len(text) > _LONGEST_TEXT:
        raise EvaluationError(f"The text {path} is longer than {_LONGEST_TEXT:,} bytes: give a part of it.")
    if not text:
        raise EvaluationError(f"The text {path} is empty.")
    return text


# What comes out


def _check_outputs(values: Mapping[str, Any]) -> None:
    """Raise EvaluationError for what could not be written at the end of a run of hours."""
    if values["as_json"] and values["read"]:
        raise EvaluationError(
            "--read prints answers to be read, and --json data: use --answers FILE with it."
        )
    for name, flag in _OUTPUTS.items():
        if values[name] is not None:
            check_writable(flag, Path(values[name]))
    if values["report_file"]:
        from blendin_local.presentation.html_page import check_available

        check_available()


def _outputs(values: Mapping[str, Any], *, several: bool) -> dict[str, Path]:
    """What will be written, by flag; several: answers to tasks as well as figures on a text."""
    outputs = {flag: Path(values[name]) for name, flag in _OUTPUTS.items() if values[name] is not None}
    if several and "--csv" in outputs:
        outputs["--csv, for the text,"] = _beside(outputs["--csv"])
        check_writable("--csv, for the text,", _beside(outputs["--csv"]))
    return outputs


def _beside(table: Path) -> Path:
    """Where figures on a text go, which would not fit into the table of tasks."""
    return table.with_name(f"{table.stem}.fidelity.csv")


def _write(found: CompareReport, values: Mapping[str, Any]) -> None:
    """The files that were asked for."""
    from blendin_local.presentation.plain_data import to_json, to_plain

    def markdown() -> str:
        from blendin_local.compare.report_text import compare_markdown

        return compare_markdown(found)

    def csv() -> str:
        from blendin_local.compare.report_csv import compare_csv

        return compare_csv(found)

    def page() -> str:
        from blendin_local.compare.report_page import compare_page

        return compare_page(found)

    def lines() -> str:
        return "".join(to_json(to_plain(row)) + "\n" for row in found.answers)

    made = {"csv_file": csv, "markdown_file": markdown, "report_file": page, "answers_file": lines}
    for name, make in made.items():
        if values[name] is not None:
            write_output(Path(values[name]), make())
    if values["csv_file"] is not None and found.cells and found.fidelity:
        from blendin_local.compare.report_csv import fidelity_csv

        write_output(_beside(Path(values["csv_file"])), fidelity_csv(found))


def _warnings(found: CompareReport) -> Iterator[str]:
    """What a context too short has cost, which no table shows."""
    from blendin_local.compare.writing import TOO_LONG

    if lost := sum(cell.finish_reasons.get(TOO_LONG, 0) for cell in found.cells):
        yield f"{lost} prompts did not fit the context and were not answered: give a larger --n-ctx."
    if shortened := sum(cell.shortened for cell in found.cells):
        yield f"{shortened} prompts lost worked examples to fit the context: give a larger --n-ctx."


def _print(found: CompareReport, values: Mapping[str, Any]) -> None:
    """The tables on stdout, or the document; then answers to be read."""
    if values["as_json"]:
        from blendin_local.presentation.plain_data import to_json

        click.echo(encodable(to_json(found.to_dict())))
        return
    from rich.console import Console

    from blendin_local.compare.reading import side_by_side
    from blendin_local.compare.report_text import print_compare

    console = Console()
    for part in print_compare(found, console.width, color=console.is_terminal):
        console.print(part)
    if values["read"]:
        for line in side_by_side(found.answers, values["read"]):
            click.echo(line)
