"""`blendin bench`: measure the speed of a pair and the engine's overhead over bare llama.cpp calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from blendin_local.cli.grouped_help import GroupedCommand, option_group
from blendin_local.cli.options import model_options, model_options_of, name_flags, pair_options, parse_methods

if TYPE_CHECKING:
    from blendin_local.bench import BenchResult


@click.command(cls=GroupedCommand)
@pair_options()
@option_group(
    "Measurement",
    click.option("--methods", default="base,guide,nudge,blendin,ensemble", show_default=True,
                 help="Comma-separated methods to measure, or all."),
    click.option("--gamma", type=float, help="Confidence threshold.  [default: the pair's]"),
    click.option("--tokens", type=click.IntRange(1), default=256, show_default=True,
                 help="Tokens per reply."),
    click.option("--rounds", type=click.IntRange(1), default=3, show_default=True,
                 help="Repetitions; the result is the median."),
    click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table."),
)  # fmt: skip
@model_options
def bench(methods: str, gamma: float | None, tokens: int, rounds: int, as_json: bool, **values: Any) -> None:
    """Measure tokens/s, time to first token and overhead for each method.

    Overhead is the engine's time divided by the time of the same decodes as bare llama.cpp calls, measured
    in the same run. Decoding is greedy.
    """
    names = parse_methods(methods)

    from dataclasses import replace

    from blendin_local.bench import BenchRequest, run_bench
    from blendin_local.models.catalogue import load_catalogue
    from blendin_local.models.loading import locate_pair, name_pair
    from blendin_local.preferences.preferences import load_preferences
    from blendin_local.presentation.plain_data import to_json
    from blendin_local.presentation.progress_display import Display

    catalogue = load_catalogue()
    entry = name_pair(catalogue, values["pair"], values["base"], values["guide"])
    with name_flags():
        blend = entry.blend if gamma is None else replace(entry.blend, gamma=gamma)
    request = BenchRequest(
        files=locate_pair(catalogue, entry),
        options=model_options_of(values, load_preferences().models),
        methods=tuple(replace(blend, method=name) for name in names),
        tokens=tokens,
        rounds=rounds,
    )
    with name_flags(), Display() as display:
        result = run_bench(request, display)
    if as_json:
        click.echo(to_json(result.to_dict()))
    else:
        _print(result, tokens)


def _print(result: BenchResult, tokens: int) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("method", "overhead", "tokens/s", "first token", "guide decodes", "interventions")
    for name, found in result.methods.items():
        table.add_row(
            name,
            f"{found.overhead:.3f}",
            f"{found.tokens_per_second:.1f}",
            f"{found.first_token_s:.2f} s",
            f"{found.guide_decode_ratio:.2f}" if found.guide_decode_ratio else "-",
            f"{found.intervention_rate:.0%}",
        )
    console = Console()
    console.print(table)
    console.print(
        f"γ = {result.gamma:g}, {tokens} tokens, median of {result.rounds} rounds. Memory above files and KV "
        f"caches: {result.memory.above / 1e6:.0f} MB."
    )
