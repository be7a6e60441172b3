"""`blendin tune`: score every method and threshold of a pair on reference answers."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from blendin_local.cli import INTERRUPTED
from blendin_local.cli.grouped_help import GroupedCommand, option_group
from blendin_local.cli.options import (
    format_options,
    formats_of,
    model_options,
    model_options_of,
    name_flags,
    pair_options,
)
from blendin_local.cli.outputs import check_distinct, check_writable, write_output
from blendin_local.cli.terminal import is_terminal
from blendin_local.errors import EvaluationError
from blendin_local.tune import BUDGET

if TYPE_CHECKING:
    from blendin_local.models.catalogue import Catalogue
    from blendin_local.models.entries import PairEntry
    from blendin_local.preferences.preferences import Preferences
    from blendin_local.presentation.progress_display import Display
    from blendin_local.tune.run import TunePass, TuneResult

_OUTPUTS = {"record": "--record", "markdown": "--markdown", "report": "--report"}
_OF_ANALYSIS = ("seed", "save", "name", "as_json", "report", "markdown", "from_record", "quiet")
_PIPED_WIDTH = 100
_FILE = click.Path(dir_okay=False)


@click.command(cls=GroupedCommand)
@pair_options()
@option_group(
    "Reference answers",
    click.option("--task", "-T", metavar="NAME", help="Use the worked answers of a task, such as gsm8k "
                 "(docs/tasks.md); --data is its file."),
    click.option("--data", "-d", metavar="FILE", help="JSON lines with `prompt` or `messages`, and "
                 "`response`.  [default: the package's 80 answers]"),
    click.option("--shots", type=click.IntRange(0), default=0, show_default=True,
                 help="With --task: worked examples before each question, from the same file."),
    click.option("--max-tokens", "-n", type=click.IntRange(1), default=BUDGET, show_default=True,
                 help="Number of tokens to score; a larger number extends an earlier run."),
    click.option("--seed", type=click.IntRange(0), default=0, show_default=True,
                 help="Random seed of the order of the answers and of the held-out half."),
)  # fmt: skip
@option_group(
    "Output",
    click.option("--save", is_flag=True, help="Save setting, prior and calibration in your catalogue, where "
                 "chat and generate find them."),
    click.option("--name", metavar="NAME", help="With --save: name of the saved pair.  [default: its own]"),
    click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of tables."),
    click.option("--report", type=_FILE, metavar="FILE", help="Write a self-contained HTML report with plots "
                 "(needs the extra 'report')."),
    click.option("--markdown", type=_FILE, metavar="FILE", help="Also write the tables as Markdown."),
    click.option("--record", type=_FILE, metavar="FILE", help="Also write the measured positions (.npz)."),
    click.option("--from", "from_record", type=_FILE, metavar="FILE",
                 help="Analyse a file written by --record, without loading models."),
    click.option("--fresh", is_flag=True, help="Ignore the results of an earlier run."),
    click.option("--quiet", "-q", is_flag=True, help="Do not show progress on stderr."),
)  # fmt: skip
@format_options
@model_options
def tune(**values: Any) -> None:
    """Score every method and threshold of a pair on reference answers, in one pass.

    Both models are evaluated on the answers by teacher forcing. The report gives bits per byte and expected
    speed of every setting, the recommended setting, the pair prior, the calibration, and whether to blend
    or to use one model alone. The pass is saved: the same command resumes a stopped one.
    """
    _check(values)

    from blendin_local.models.catalogue import load_catalogue
    from blendin_local.models.loading import name_pair
    from blendin_local.preferences.preferences import load_preferences
    from blendin_local.presentation.progress_display import Display
    from blendin_local.tune.run import PassStopped, load_pass, save_pass, saved_name

    catalogue, preferences = load_catalogue(), load_preferences()
    with Display(quiet=values["quiet"]) as display:
        if values["from_record"]:
            tuned = load_pass(Path(values["from_record"]), catalogue)
            name = saved_name(tuned.entry, values["name"]) if values["save"] else ""
        else:
            entry = name_pair(catalogue, values["pair"], values["base"], values["guide"])
            name = saved_name(entry, values["name"]) if values["save"] else ""
            try:
                tuned = _run_pass(catalogue, entry, preferences, values, display)
            except PassStopped as stopped:
                display.hide_bar()
                command = "the same command without --fresh" if values["fresh"] else "the same command"
                click.echo(f"Stopped after {stopped.positions} positions: {command} resumes.", err=True)
                sys.exit(INTERRUPTED)

    result = tuned.analyse(seed=values["seed"], hint_level=preferences.chat.hint_rate)
    if values["record"]:
        save_pass(tuned, Path(values["record"]))
    _write(result, values)
    _print(result, values)
    if values["save"]:
        file = result.save(name)
        if not values["quiet"]:
            click.secho(f"Saved as the pair {name} in {file}: chat and generate use it.", err=True, dim=True)


def _run_pass(
    catalogue: Catalogue,
    entry: PairEntry,
    preferences: Preferences,
    values: Mapping[str, Any],
    display: Display,
) -> TunePass:
    from blendin_local.models.loading import locate_pair
    from blendin_local.tune.run import TuneRequest, read_references, run_tune_pass

    request = TuneRequest(
        options=model_options_of(values, preferences.models),
        references=read_references(
            values["data"], values["task"], shots=values["shots"], seed=values["seed"], watcher=display
        ),
        files=locate_pair(catalogue, entry),
        formats=formats_of(values, preferences.formats),
        system=values["system"] or "",
        budget=values["max_tokens"],
        seed=values["seed"],
        fresh=values["fresh"],
    )
    with name_flags():
        return run_tune_pass(request, display)


def _check(values: Mapping[str, Any]) -> None:
    """Raise EvaluationError for bad option combinations, before files are read and models loaded."""
    if values["from_record"]:
        _check_analysis_only()
    if values["task"] and not values["data"]:
        raise EvaluationError(f"--task {values['task']} needs the file of its questions: add --data FILE.")
    if values["shots"] and not values["task"]:
        raise EvaluationError("--shots needs --task: give both.")
    if values["name"] and not values["save"]:
        raise EvaluationError("--name needs --save: give both.")
    for name, flag in _OUTPUTS.items():
        if values[name]:
            check_writable(flag, Path(values[name]))
    outputs = {flag: values[name] for name, flag in _OUTPUTS.items()}
    check_distinct(outputs, (values["data"], values["from_record"]))
    if values["report"]:
        from blendin_local.presentation.html_page import check_available

        check_available()


def _check_analysis_only() -> None:
    """Raise EvaluationError for options of the measurement, which --from skips."""
    context = click.get_current_context()
    for param in context.command.params:
        typed = context.get_parameter_source(param.name or "") is ParameterSource.COMMANDLINE
        if typed and param.name not in _OF_ANALYSIS:
            flag = max(param.opts, key=len)
            raise EvaluationError(f"{flag} has no effect with --from, which measures nothing: leave it out.")


# Output


def _write(result: TuneResult, values: Mapping[str, Any]) -> None:
    if values["markdown"]:
        write_output(Path(values["markdown"]), result.to_markdown())
    if values["report"]:
        write_output(Path(values["report"]), result.to_html())


def _print(result: TuneResult, values: Mapping[str, Any]) -> None:
    if values["as_json"]:
        from blendin_local.presentation.plain_data import to_json

        click.echo(to_json(result.to_dict()))
        return

    from rich.console import Console

    from blendin_local.cli.tables import print_parts
    from blendin_local.tune.report_text import print_tune

    seen = is_terminal(sys.stdout)
    print_parts(*print_tune(result.report, Console().width if seen else _PIPED_WIDTH, seen))
