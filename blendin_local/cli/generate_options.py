"""Options that only `blendin generate` has, and the checks of their combinations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click
from click.core import ParameterSource

from blendin_local.cli.grouped_help import option_group
from blendin_local.cli.options import FORMAT_OPTIONS, SAMPLING
from blendin_local.errors import PromptError, SettingError
from blendin_local.settings import MOST_CANDIDATES, MOST_PARALLEL

__all__ = [
    "AUTO",
    "check_no_rows_options",
    "check_rows_options",
    "output_options",
    "prompt_options",
    "rows_options",
    "seed_option",
]

AUTO = "auto"
LOCAL_RAY = "local"
_ROWS = "Batch generation"


def _parallel(_context: click.Context, _param: click.Parameter, value: str | None) -> int | str | None:
    """Parse --parallel: a number of rows, or "auto". Raises click.BadParameter."""
    if value is None or value == AUTO:
        return value
    if not value.isdecimal() or not 1 <= int(value) <= MOST_PARALLEL:
        raise click.BadParameter(f"{value!r} is neither a number from 1 to {MOST_PARALLEL} nor {AUTO}.")
    return int(value)


prompt_options = option_group(
    "Prompt",
    click.option("--file", "-f", "file", help="Read the prompt from this file; -: standard input."),
    *FORMAT_OPTIONS,
)
"""Options of the prompt and its format."""

seed_option = option_group(
    SAMPLING,
    click.option("--seed", type=int, help="Random seed.  [default: that of the preferences, or 0]"),
)

output_options = option_group(
    "Output",
    click.option("--view", type=click.Choice(["text", "tokens"]), default="text", show_default=True,
                 help="text, or one line per step with both models' confidences."),
    click.option("--color", type=click.Choice(["auto", "always", "never"]), default="auto",
                 show_default=True, help="Colour each token by the model that it comes from."),
    click.option("--json", "as_json", is_flag=True,
                 help="Print one JSON object instead of the text; with --input: the summary as JSON."),
    click.option("--steps", "with_steps", is_flag=True, help="With --json or --input: include every step."),
    click.option("--candidates", type=click.IntRange(0, MOST_CANDIDATES), default=0, show_default=True,
                 help="With --steps: include the top N candidates of base, guide and blend."),
    click.option("--quiet", "-q", is_flag=True, help="Do not show progress and the summary on stderr."),
)  # fmt: skip
"""Output options of a single reply."""

rows_options = option_group(
    _ROWS,
    click.option("--input", "-i", help="Answer every row of this file: JSON lines, OpenAI batch requests, "
                 "CSV, TSV or lines of text, also .gz or .zst; -: standard input."),
    click.option("--output", "-o", help="File for the answers, as JSON lines; -: standard output."),
    click.option("--input-format", type=click.Choice(["auto", "jsonl", "openai", "text", "csv"]),
                 default="auto", show_default=True, help="Input format; auto: by the name and content."),
    click.option("--output-format", type=click.Choice(["auto", "jsonl", "openai"]), default="auto",
                 show_default=True, help="Output format; auto: openai for OpenAI batch input, else jsonl."),
    click.option("--column", help="CSV column or JSON key of the prompts.  [default: prompt]"),
    click.option("--id-column", default="id", show_default=True, help="CSV column or JSON key of the ids."),
    click.option("--system-column", default="system", show_default=True,
                 help="CSV column or JSON key of the system prompts."),
    click.option("--limit", type=click.IntRange(min=1), help="Read only the first N rows."),
    click.option("--parallel", "-j", callback=_parallel, metavar="N|auto",
                 help="Rows decoded at once; 1: bit-identical results; auto: the fastest in a warm-up.  "
                 "[default: 8, or as many as fit into memory]"),
    click.option("--retry-failed", is_flag=True, help="Retry the rows that failed in an earlier run."),
    click.option("--overwrite", is_flag=True, help="Start over and replace the output."),
    click.option("--report", help="Also write the summary as an HTML report."),
    click.option("--ray", is_flag=False, flag_value=LOCAL_RAY, metavar="[ADDRESS]",
                 help="Run on workers of a Ray cluster; without an address, on this machine."),
    click.option("--workers", type=click.IntRange(1, 4096), help="Ray workers.  [default: one per node]"),
)  # fmt: skip
"""--input and the options that need it."""


def check_no_rows_options() -> None:
    """Raise SettingError for an option that has no effect without --input."""
    for param in click.get_current_context().command.params:
        if getattr(param, "heading", "") == _ROWS and _is_typed(param.name or ""):
            raise SettingError(f"{param.opts[0]} needs --input: name a file of prompts.")


def check_rows_options(prompt: str | None, file: str | None, values: Mapping[str, Any]) -> None:
    """Raise PromptError or SettingError for options that contradict --input or have no effect with it."""
    from blendin_local.batch.sink import is_standard_output

    if prompt is not None or file is not None:
        given = "a prompt" if prompt is not None else "--file"
        raise PromptError(f"--input and {given} exclude each other: give one of them.")
    if not values["output"]:
        raise SettingError("--input needs --output: name a file for the answers, or - for standard output.")
    for name in ("view", "color"):
        if _is_typed(name):
            raise SettingError(f"{_flag(name)} is for a single reply, not for --input: leave it out.")
    if values["report"] == "-":
        raise SettingError("--report goes to a file: name one, such as report.html.")
    if values["candidates"] and not values["with_steps"]:
        raise SettingError("--candidates needs --steps: give both.")
    if values["as_json"] and is_standard_output(values["output"]):
        raise SettingError(
            "--json and --output - both write to standard output: name a file for the answers."
        )
    if values["overwrite"] and values["retry_failed"]:
        raise SettingError("--overwrite drops all answers, failed ones too: leave out --retry-failed.")
    if values["workers"] and values["ray"] is None:
        raise SettingError("--workers needs --ray: give both, or use --parallel for more rows at once.")
    if values["ray"] is not None and values["parallel"] == AUTO:
        raise SettingError("--parallel auto measures this machine, not Ray's workers: give a number.")


def _is_typed(name: str) -> bool:
    source = click.get_current_context().get_parameter_source(name)
    return source not in (ParameterSource.DEFAULT, None)


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
