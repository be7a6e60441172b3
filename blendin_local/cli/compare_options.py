"""The options of `blendin compare`, in groups."""

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
"""Questions of each task that --read shows unless it is told how many."""

_DEFAULTS = RunSettings()


def _arm_option(spec: SettingSpec) -> Any:
    """The option of a blend setting: a number may be a list of numbers, each tried with every method."""
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
                 help="A pair of the catalogue (repeatable). Its base alone and its guide alone are always "
                 "compared too."),
    click.option("--base", shell_complete=complete_model,
                 help="Base model of a pair: a name, a .gguf file, or hf:OWNER/REPO:FILE."),
    click.option("--guide", shell_complete=complete_model, help="Its guide model, in the same forms."),
    click.option("--model", "models", multiple=True, shell_complete=complete_model,
                 help="A single model, in the same forms (repeatable); for example two quantizations."),
)  # fmt: skip

arm_options = option_group(
    "Blending (default: what the pair recommends; numbers may be lists, separated by commas)",
    click.option("--methods", "-m",
                 help="Methods of the pairs, separated by commas; all: every one.", metavar="NAME[,NAME...]"),
    *(_arm_option(spec) for spec in settings_of(BlendSettings).values() if spec.name != "method"),
    click.option("--paper", is_flag=True, help="The settings of the paper: no guide stop."),
)  # fmt: skip
"""How pairs are blended; several values mean every combination."""

sampling_options = option_group(
    "Sampling (default: greedy)", *map(setting_option, settings_of(SamplingSettings).values())
)
"""How a token is chosen."""

task_options = option_group(
    "Tasks",
    click.option("--task", "-T", "tasks", multiple=True, metavar="NAME",
                 help="A task (repeatable): gsm8k, svamp, multiarith, mmlu, arc_challenge, truthfulqa, csqa, "
                 "strategyqa, date, sports, coin_flip, last_letter_concat, xstest, justeval, justeval_safe, "
                 "or custom (docs/tasks.md)."),
    click.option("--data", "-d", "data", multiple=True, metavar="FILE",
                 help="File of a task's questions, in a published format: the first --data is for the first "
                 "--task, and so on. Several files of one task make several tables."),
    click.option("--datasets", is_flag=True,
                 help="Tasks without a file come from the Hugging Face hub (needs a network and the extra "
                 "'datasets')."),
    click.option("--limit", type=click.IntRange(0), default=_DEFAULTS.limit, show_default=True,
                 help="Questions of each task, sampled with --seed; 0: all."),
    click.option("--shots", type=click.IntRange(0), default=_DEFAULTS.shots, show_default=True,
                 help="Worked examples before each question, from the same file, outside the sample."),
)  # fmt: skip
"""What is asked."""

run_options = option_group(
    "Run",
    click.option("--seed", type=click.IntRange(0), default=_DEFAULTS.seed, show_default=True,
                 help="Seed of the sample, the worked examples, and the sampling of replies."),
    click.option("--max-tokens", "-n", type=click.IntRange(1), help="Longest reply, in tokens.  "
                 "[default: the task's own]"),
    click.option("--stop", multiple=True, callback=require_text,
                 help="End a reply before this text (repeatable)."),
    click.option("--options/--no-options", default=_DEFAULTS.options, show_default=True,
                 help="Also score multiple choice by the likelihood of the options."),
    click.option("--judge", default="", metavar="URL|GGUF",
                 help="Judge of justeval: the address of an OpenAI-compatible server (key in "
                 "OPENAI_API_KEY), or a model as for --model."),
    click.option("--judge-model", default="", metavar="NAME", help="Model name to request from that server."),
    click.option("--fresh", is_flag=True, help="Recompute everything and replace kept answers."),
)  # fmt: skip
"""How the run goes."""

text_options = option_group(
    "Fidelity on a text",
    click.option("--text", type=click.Path(dir_okay=False), metavar="FILE",
                 help="Text of at least two chunks on which single models are compared with --reference: "
                 "perplexity, bits per byte and KL divergence, as in llama.cpp's perplexity tool."),
    click.option("--reference", default="", metavar="NAME",
                 help="Model that the others are compared with.  [default: the first --model]"),
    click.option("--text-ctx", type=click.IntRange(8), default=_DEFAULTS.text_ctx, show_default=True,
                 help="Tokens per chunk; published figures use 512."),
    click.option("--chunks", type=click.IntRange(1), help="Read only the first N chunks.  [default: all]"),
)  # fmt: skip
"""Fidelity on a text."""

_FILE = click.Path(dir_okay=False)

output_options = option_group(
    "Output",
    click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of tables."),
    click.option("--csv", "csv_file", type=_FILE, metavar="FILE", help="Also write the table as CSV; "
                 "with tasks and --text, the figures on the text go to FILE's name.fidelity.csv."),
    click.option("--markdown", "markdown_file", type=_FILE, metavar="FILE",
                 help="Also write the tables as Markdown."),
    click.option("--report", "report_file", type=_FILE, metavar="FILE",
                 help="Write an HTML page with plots that works offline (needs the extra 'report')."),
    click.option("--answers", "answers_file", type=_FILE, metavar="FILE",
                 help="Write every answer with its score as JSON lines."),
    click.option("--read", type=click.IntRange(1), is_flag=False, flag_value=READ, metavar="[N]",
                 help=f"Print the answers to N questions of each task side by side ({READ} unless given), "
                 "disagreements first."),
    click.option("--quiet", "-q", is_flag=True, help="No progress on stderr."),
)  # fmt: skip
"""What comes out."""
