"""Options of `blendin compare`, in groups."""

from __future__ import annotations

from typing import Any

import click

from blendin_local.cli.complete_names import complete_model, complete_pair
from blendin_local.cli.grouped_help import option_group
from blendin_local.cli.options import require_text, setting_option
from blendin_local.compare.settings import RunSettings
from blendin_local.setting_spec import SettingSpec, settings_of
from blendin_local.settings import BlendSettings, SamplingSettings

__all__ = [
    "arm_options",
    "output_options",
    "pair_options",
    "run_options",
    "sampling_options",
    "task_options",
    "text_options",
]

READ = 5
"""Questions of each task that --read shows by default."""

_DEFAULTS = RunSettings()


def _arm_option(spec: SettingSpec) -> Any:
    """Return the option of a blend setting; numeric ones take a comma-separated list of values to compare."""
    if spec.kind not in (int, float):
        return setting_option(spec)
    implied = f" Implies --methods {spec.selects}." if spec.selects else ""
    return click.option(
        spec.option, *filter(None, [spec.letter]), spec.name, metavar="X[,X...]",
        help=spec.description + implied,
    )  # fmt: skip


pair_options = option_group(
    "Models",
    click.option("--pair", "-p", "pairs", multiple=True, shell_complete=complete_pair,
                 help="Name of a pair in the catalogue (repeatable). Its base alone and its guide alone are "
                 "always included."),
    click.option("--base", shell_complete=complete_model,
                 help="Base model of a pair: a name, a .gguf file, or hf:OWNER/REPO:FILE."),
    click.option("--guide", shell_complete=complete_model, help="Its guide model, in the same forms."),
    click.option("--model", "models", multiple=True, shell_complete=complete_model,
                 help="Single model, in the same forms (repeatable), such as two quantizations."),
)  # fmt: skip

arm_options = option_group(
    "Blending (default: the pair's recommendation; numbers may be comma-separated lists)",
    click.option("--methods", "-m",
                 help="Comma-separated methods for the pairs, or all.", metavar="NAME[,NAME...]"),
    *(_arm_option(spec) for spec in settings_of(BlendSettings).values() if spec.name != "method"),
    click.option("--paper", is_flag=True, help="Use the settings of the paper: no guide stop."),
)  # fmt: skip
"""Blend settings of the pairs; several values mean every combination."""

sampling_options = option_group(
    "Sampling (default: greedy)", *map(setting_option, settings_of(SamplingSettings).values())
)
"""Sampling settings."""

task_options = option_group(
    "Tasks",
    click.option("--task", "-T", "tasks", multiple=True, metavar="NAME",
                 help="Name of a task (repeatable): gsm8k, svamp, multiarith, mmlu, arc_challenge, "
                 "truthfulqa, csqa, strategyqa, date, sports, coin_flip, last_letter_concat, xstest, "
                 "justeval, justeval_safe, or custom (docs/tasks.md)."),
    click.option("--data", "-d", "data", multiple=True, metavar="FILE",
                 help="File of a task's questions, in a published format. The first --data belongs to the "
                 "first --task, and so on; several files of one task give several tables."),
    click.option("--datasets", is_flag=True,
                 help="Load tasks without a file from the Hugging Face hub (needs the extra 'datasets')."),
    click.option("--limit", type=click.IntRange(0), default=_DEFAULTS.limit, show_default=True,
                 help="Number of questions of each task, sampled with --seed; 0: all."),
    click.option("--shots", type=click.IntRange(0), default=_DEFAULTS.shots, show_default=True,
                 help="Worked examples before each question, from the same file but outside the sample."),
)  # fmt: skip
"""Options of the tasks."""

run_options = option_group(
    "Run",
    click.option("--seed", type=click.IntRange(0), default=_DEFAULTS.seed, show_default=True,
                 help="Random seed of the questions, the worked examples and the sampling of replies."),
    click.option("--max-tokens", "-n", type=click.IntRange(1), help="Maximum reply length in tokens.  "
                 "[default: the task's own]"),
    click.option("--stop", multiple=True, callback=require_text,
                 help="Stop a reply before this string (repeatable)."),
    click.option("--options/--no-options", default=_DEFAULTS.options, show_default=True,
                 help="Also score multiple choice by the likelihood of the options."),
    click.option("--judge", default="", metavar="URL|GGUF",
                 help="Judge of justeval: the URL of an OpenAI-compatible server (key in OPENAI_API_KEY), "
                 "or a model as for --model."),
    click.option("--judge-model", default="", metavar="NAME", help="Model to request from that server."),
    click.option("--fresh", is_flag=True, help="Recompute everything and replace saved answers."),
)  # fmt: skip
"""Options of the run."""

text_options = option_group(
    "Fidelity on a text",
    click.option("--text", type=click.Path(dir_okay=False), metavar="FILE",
                 help="Text file of at least two chunks for perplexity, bits per byte and KL divergence "
                 "against --reference, as in llama-perplexity."),
    click.option("--reference", default="", metavar="NAME",
                 help="Reference model of the KL divergence.  [default: the first --model]"),
    click.option("--text-ctx", type=click.IntRange(8), default=_DEFAULTS.text_ctx, show_default=True,
                 help="Tokens per chunk; llama.cpp's published figures use 512."),
    click.option("--chunks", type=click.IntRange(1), help="Read only the first N chunks.  [default: all]"),
)  # fmt: skip
"""Options of the fidelity measurement on a text."""

_FILE = click.Path(dir_okay=False)

output_options = option_group(
    "Output",
    click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of tables."),
    click.option("--csv", "csv_file", type=_FILE, metavar="FILE", help="Also write the table as CSV; "
                 "with tasks and --text, the figures on the text go to NAME.fidelity.csv beside it."),
    click.option("--markdown", "markdown_file", type=_FILE, metavar="FILE",
                 help="Also write the tables as Markdown."),
    click.option("--report", "report_file", type=_FILE, metavar="FILE",
                 help="Write a self-contained HTML report with plots (needs the extra 'report')."),
    click.option("--answers", "answers_file", type=_FILE, metavar="FILE",
                 help="Write every answer with its score as JSON lines."),
    click.option("--read", type=click.IntRange(1), is_flag=False, flag_value=READ, metavar="[N]",
                 help=f"Print the answers to N questions of each task side by side (default {READ}), "
                 "disagreements first."),
    click.option("--quiet", "-q", is_flag=True, help="Do not show progress on stderr."),
)  # fmt: skip
"""Output options."""
