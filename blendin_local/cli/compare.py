"""`blendin compare`: compare pairs, methods and single models on tasks or on a text."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from blendin_local.cli import INTERRUPTED
from blendin_local.cli.compare_options import (
    arm_options,
    output_options,
    pair_options,
    run_options,
    sampling_options,
    task_options,
    text_options,
)
from blendin_local.cli.grouped_help import GroupedCommand
from blendin_local.cli.options import (
    format_options,
    formats_of,
    model_options,
    model_options_of,
    name_flags,
)
from blendin_local.cli.outputs import check_distinct, check_writable, write_output
from blendin_local.errors import EvaluationError
from blendin_local.safe_text import encodable

if TYPE_CHECKING:
    from blendin_local.compare.answers import Answers
    from blendin_local.compare.request import CompareRequest, CompareResult
    from blendin_local.preferences.preferences import Preferences
    from blendin_local.presentation.progress_display import Display

_OUTPUTS = {
    "csv_file": "--csv",
    "markdown_file": "--markdown",
    "report_file": "--report",
    "answers_file": "--answers",
}


@click.command(cls=GroupedCommand)
@click.argument("plan", required=False, type=click.Path(dir_okay=False), metavar="[PLAN.toml]")
@pair_options
@task_options
@arm_options
@run_options
@output_options
@format_options
@sampling_options
@text_options
@model_options
def compare(**values: Any) -> None:
    """Compare pairs, methods and single models on tasks, with confidence intervals and paired tests.

    The table includes the base alone and the guide alone of every pair. Decoding is greedy unless
    --temperature is given. Every answer is saved: a stopped or extended comparison resumes, and saved
    answers are reused only under identical settings. A PLAN file can define arms, tasks and settings
    (docs/compare.md); options override it.
    """
    _check_outputs(values)

    from blendin_local.compare.answers import Answers, answers_file
    from blendin_local.presentation.progress_display import Display

    with closing(Answers(answers_file(), fresh=values["fresh"])) as answers:
        try:
            with Display(quiet=values["quiet"] or False) as display:
                result = _run_request(values, answers, display)
        except KeyboardInterrupt:
            again = "the same command without --fresh" if values["fresh"] else "the same command"
            click.echo(f"Stopped. Finished answers are saved: {again} resumes.", err=True)
            sys.exit(INTERRUPTED)
    for warning in _context_warnings(result):
        click.secho(warning, err=True, fg="yellow")
    _write(result, values)
    _print(result, values)


def _run_request(values: Mapping[str, Any], answers: Answers, display: Display) -> CompareResult:
    """Check the options and the plan, then run. Raises EvaluationError if an output is also an input."""
    from blendin_local.compare.request import prepare
    from blendin_local.models.catalogue import load_catalogue
    from blendin_local.preferences.preferences import load_preferences

    request = _make_request(values, load_preferences())
    outputs = _output_paths(values, several=bool(request.tasks and request.settings.text))
    data = (task.data for task in request.tasks)
    check_distinct(outputs, [values["plan"], request.settings.text, answers.path, *data])
    with name_flags():
        prepared = prepare(request, load_catalogue(), answers, display)
    check_distinct(outputs, prepared.model_files)
    return prepared.run(answers, display)


def _make_request(values: Mapping[str, Any], preferences: Preferences) -> CompareRequest:
    """Return the request of the plan, overridden and extended by typed options."""
    from blendin_local.cli.compare_specs import arm_specs, run_settings, task_specs
    from blendin_local.compare.plan import Plan, read_plan
    from blendin_local.compare.request import CompareRequest

    formats = formats_of(values, preferences.formats)
    options = model_options_of(values, preferences.models)
    plan = read_plan(Path(values["plan"]), formats) if values["plan"] else Plan()
    settings = run_settings(plan.run, values)
    usual = "" if plan.arms else preferences.chat.pair
    arms = (*plan.arms, *arm_specs(values, formats, usual))
    tasks = (*plan.tasks, *task_specs(values["tasks"], values["data"], values["datasets"]))
    return CompareRequest(arms, tasks, settings, options, preferences.chat.hint_rate)


# Output


def _check_outputs(values: Mapping[str, Any]) -> None:
    """Raise EvaluationError for outputs that cannot be written, before a run of hours."""
    if values["as_json"] and values["read"]:
        raise EvaluationError("--read and --json exclude each other: use --answers FILE with --json.")
    for name, flag in _OUTPUTS.items():
        if values[name] is not None:
            check_writable(flag, Path(values[name]))
    if values["report_file"]:
        from blendin_local.presentation.html_page import check_available

        check_available()


def _output_paths(values: Mapping[str, Any], *, several: bool) -> dict[str, Path]:
    """Return the output files by option. several: whether both tasks and a text are compared."""
    outputs = {flag: Path(values[name]) for name, flag in _OUTPUTS.items() if values[name] is not None}
    if several and "--csv" in outputs:
        outputs["--csv, for the text,"] = _fidelity_csv_path(outputs["--csv"])
        check_writable("--csv, for the text,", _fidelity_csv_path(outputs["--csv"]))
    return outputs


def _fidelity_csv_path(table: Path) -> Path:
    """Return the path of the CSV of figures on a text, beside the CSV of the tasks."""
    return table.with_name(f"{table.stem}.fidelity.csv")


def _write(result: CompareResult, values: Mapping[str, Any]) -> None:
    """Write the requested files."""
    from blendin_local.presentation.plain_data import to_json, to_plain

    def csv() -> str:
        from blendin_local.compare.report_csv import compare_csv

        return compare_csv(result.report)

    def lines() -> str:
        return "".join(to_json(to_plain(row)) + "\n" for row in result.report.answers)

    made = {
        "csv_file": csv,
        "markdown_file": result.to_markdown,
        "report_file": result.to_html,
        "answers_file": lines,
    }
    for name, make in made.items():
        if values[name] is not None:
            write_output(Path(values[name]), make())
    if values["csv_file"] is not None and result.report.cells and result.report.fidelity:
        from blendin_local.compare.report_csv import fidelity_csv

        write_output(_fidelity_csv_path(Path(values["csv_file"])), fidelity_csv(result.report))


def _context_warnings(result: CompareResult) -> Iterator[str]:
    """Yield warnings about prompts that did not fit the context, which no table shows."""
    from blendin_local.compare.writing import TOO_LONG

    if lost := sum(cell.finish_reasons.get(TOO_LONG, 0) for cell in result.report.cells):
        yield f"{lost} prompts did not fit the context and were not answered: give a larger --n-ctx."
    if shortened := sum(cell.shortened for cell in result.report.cells):
        yield f"{shortened} prompts lost worked examples to fit the context: give a larger --n-ctx."


def _print(result: CompareResult, values: Mapping[str, Any]) -> None:
    """Print the tables or the JSON document on stdout, then the answers that --read asks for."""
    if values["as_json"]:
        from blendin_local.presentation.plain_data import to_json

        click.echo(encodable(to_json(result.to_dict())))
        return
    from rich.console import Console

    from blendin_local.compare.reading import side_by_side
    from blendin_local.compare.report_text import print_compare

    console = Console()
    for part in print_compare(result.report, console.width, color=console.is_terminal):
        console.print(part)
    if values["read"]:
        for line in side_by_side(result.report.answers, values["read"]):
            click.echo(line)
