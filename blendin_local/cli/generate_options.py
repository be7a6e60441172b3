"""The options of `blendin generate` that are for files of prompts, and which others go with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import click
from click.core import ParameterSource

from blendin_local.cli.options import decorate
from blendin_local.errors import PromptError, SettingError

__all__ = ["AUTO", "check_no_rows_options", "check_rows_options", "rows_options"]

AUTO = "auto"
LOCAL_RAY = "local"
_MOST = 256


def _parallel(_context: click.Context, _param: click.Parameter, value: str | None) -> int | str | None:
    """A number of rows, or "auto". Raises click.BadParameter."""
    if value is None or value == AUTO:
        return value
    if not value.isdecimal() or not 1 <= int(value) <= _MOST:
        raise click.BadParameter(f"{value!r} is neither a number from 1 to {_MOST} nor {AUTO}.")
    return int(value)


_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.option("--input", "-i", help="Answer every row of this file: JSON lines, OpenAI batch requests, "
                 "CSV, TSV or lines of text, also .gz or .zst; -: standard input."),
    click.option("--output", "-o", help="Where its answers go, one JSON line each; -: standard output."),
    click.option("--input-format", type=click.Choice(["auto", "jsonl", "openai", "text", "csv"]),
                 default="auto", show_default=True, help="How the input is read."),
    click.option("--output-format", type=click.Choice(["auto", "jsonl", "openai"]), default="auto",
                 show_default=True, help="openai: OpenAI batch output, as for OpenAI batch input."),
    click.option("--column", help="CSV column or JSON key of the prompts.  [default: prompt]"),
    click.option("--id-column", default="id", show_default=True, help="The same for ids."),
    click.option("--system-column", default="system", show_default=True, help="For system prompts."),
    click.option("--limit", type=click.IntRange(min=1), help="Only the first so many rows of the input."),
    click.option("--parallel", "-j", callback=_parallel, metavar="N|auto",
                 help="Rows written at once; 1: bit-equal repeats; auto: what a warm-up finds fastest.  "
                 "[default: 8, or what memory has room for]"),
    click.option("--retry-failed", is_flag=True, help="Ask again the rows that failed in an earlier run."),
    click.option("--overwrite", is_flag=True, help="Start anew: drop what the output holds."),
    click.option("--report", help="Write the summary as one HTML page, too."),
    click.option("--ray", is_flag=False, flag_value=LOCAL_RAY, metavar="[ADDRESS]",
                 help="Let workers of a Ray cluster answer; without an address, on this machine."),
    click.option("--workers", type=click.IntRange(1, 4096), help="With --ray: how many.  "
                 "[default: one for each node]"),
)  # fmt: skip

_NAMES: tuple[str, ...] = (
    "output",
    "input_format",
    "output_format",
    "column",
    "id_column",
    "system_column",
    "limit",
    "parallel",
    "retry_failed",
    "overwrite",
    "report",
    "ray",
    "workers",
)


def rows_options(command: Any) -> Any:
    """--input and all that belongs to it."""
    return decorate(_OPTIONS)(command)


def check_no_rows_options() -> None:
    """Raise SettingError for an option that does nothing without --input."""
    for name in _NAMES:
        if _typed(name):
            raise SettingError(f"{_flag(name)} belongs to --input: name a file of prompts.")


def check_rows_options(prompt: str | None, file: str | None, values: Mapping[str, Any]) -> None:
    """Raise PromptError or SettingError for options that contradict each other or do nothing with --input."""
    from blendin_local.batch.sink import is_standard_output

    if prompt is not None or file is not None:
        given = "a prompt" if prompt is not None else "--file"
        raise PromptError(f"--input and {given} exclude each other: give one of them.")
    if not values["output"]:
        raise SettingError("--input needs --output: name a file for the answers, or - for standard output.")
    for name in ("view", "color"):
        if _typed(name):
            raise SettingError(f"{_flag(name)} is for a single reply, not for --input: leave it out.")
    if values["report"] == "-":
        raise SettingError("--report goes to a file: name one, such as report.html.")
    if values["candidates"] and not values["with_steps"]:
        raise SettingError("--candidates belongs to --steps: give both.")
    if values["as_json"] and is_standard_output(values["output"]):
        raise SettingError(
            "--json and --output - both write to standard output: name a file for the answers."
        )
    if values["overwrite"] and values["retry_failed"]:
        raise SettingError("--overwrite drops all answers, failed ones too: leave out --retry-failed.")
    if values["workers"] and values["ray"] is None:
        raise SettingError("--workers belongs to --ray: give both, or --parallel for more rows at once.")
    if values["ray"] is not None and values["parallel"] == AUTO:
        raise SettingError("--parallel auto measures this machine, not Ray's workers: give a number.")


def _typed(name: str) -> bool:
    source = click.get_current_context().get_parameter_source(name)
    return source not in (ParameterSource.DEFAULT, None)


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
