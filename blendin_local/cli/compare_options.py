"""The options of `blendin compare`, in groups."""

from __future__ import annotations

import click

from blendin_local.cli.complete_names import complete_model, complete_pair
from blendin_local.cli.options import decorate
from blendin_local.compare.settings import RunSettings
from blendin_local.settings import UNITS

__all__ = ["arm_options", "output_options", "run_options", "task_options", "text_options"]

READ = 5
"""Questions of each task that --read shows unless it is told how many."""

_DEFAULTS = RunSettings()


_SEVERAL = "one, or several separated by commas"

arm_options = decorate([
    click.option("--pair", "-p", "pairs", multiple=True, shell_complete=complete_pair,
                 help="A pair of the catalogue (repeatable). Its base alone and its guide alone are always "
                 "among the arms."),
    click.option("--base", shell_complete=complete_model,
                 help="Base model of a pair: a name, a .gguf file, or hf:OWNER/REPO:FILE."),
    click.option("--guide", shell_complete=complete_model, help="Its guide model, given alike."),
    click.option("--model", "models", multiple=True, shell_complete=complete_model,
                 help="A model alone, given alike (repeatable): two quantizations, say."),
    click.option("--methods", "-m",
                 help=f"Methods of the pairs, {_SEVERAL}; all: every one.  [default: the pair's]"),
    click.option("--gamma", "-g", help=f"Thresholds, {_SEVERAL}, each with every method.  "
                 "[default: the pair's]"),
    click.option("--alpha", help=f"The guide's share under the method fixed (implied), {_SEVERAL}."),
    click.option("--prior", help=f"Pair prior b of the method tuned, {_SEVERAL}."),
    click.option("--compete-k", type=int, help="Rank limit of the method compete."),
    click.option("--tau", type=float, help="Lower step of the method tiered."),
    click.option("--unit", type=click.Choice(UNITS), help="word: the guide finishes the word it began."),
    click.option("--max-intervention-rate", type=float, help="Cap on interventions / steps."),
    click.option("--capability-gap", type=float, help="Guide's minus base's benchmark score."),
    click.option("--guide-stop/--no-guide-stop", default=None, help="Ask the guide when to stop."),
    click.option("--paper", is_flag=True, help="The paper to the letter: no guide stop."),
])  # fmt: skip
"""Which arms there are, and how pairs are blended; several values mean every combination."""

task_options = decorate([
    click.option("--task", "-T", "tasks", multiple=True, metavar="NAME",
                 help="A task (repeatable): gsm8k, svamp, multiarith, mmlu, arc_challenge, truthfulqa, csqa, "
                 "strategyqa, date, sports, coin_flip, last_letter_concat, xstest, justeval, justeval_safe, "
                 "or custom (docs/tasks.md)."),
    click.option("--data", "-d", "data", multiple=True, metavar="FILE",
                 help="The file of its questions, in a published format; the first of the first task, and so "
                 "on. Several of one task are several tables."),
    click.option("--datasets", is_flag=True,
                 help="Tasks without a file come from the Hugging Face hub (needs a network and the extra "
                 "'datasets')."),
    click.option("--limit", type=click.IntRange(0), default=_DEFAULTS.limit, show_default=True,
                 help="Questions of each task, a sample that --seed fixes before the run; 0: all."),
    click.option("--shots", type=click.IntRange(0), default=_DEFAULTS.shots, show_default=True,
                 help="Worked examples before each question, from the same file, never of the sample."),
])  # fmt: skip
"""What is asked."""

run_options = decorate([
    click.option("--seed", type=click.IntRange(0), default=_DEFAULTS.seed, show_default=True,
                 help="Fixes the sample, the worked examples, and the random numbers of a temperature."),
    click.option("--max-tokens", "-n", type=click.IntRange(1), help="Longest reply, in steps.  "
                 "[default: the task's own]"),
    click.option("--stop", multiple=True, help="End a reply before this text (repeatable)."),
    click.option("--options/--no-options", default=_DEFAULTS.options, show_default=True,
                 help="Score multiple choice also by the likelihood of its options."),
    click.option("--judge", default="", metavar="URL|GGUF",
                 help="Who scores justeval: the address of an OpenAI-compatible server (its key in "
                 "OPENAI_API_KEY), or a model as for --model."),
    click.option("--judge-model", default="", metavar="NAME", help="The model to ask that server for."),
    click.option("--fresh", is_flag=True, help="Work everything out again; kept answers are replaced."),
])  # fmt: skip
"""How the run goes."""

text_options = decorate([
    click.option("--text", type=click.Path(dir_okay=False), metavar="FILE",
                 help="A text (at least two chunks) on which the models alone are held against --reference: "
                 "perplexity, bits per byte, KL divergence, as llama.cpp's perplexity tool has them."),
    click.option("--reference", default="", metavar="NAME",
                 help="The model that the others are held against.  [default: the first --model]"),
    click.option("--text-ctx", type=click.IntRange(8), default=_DEFAULTS.text_ctx, show_default=True,
                 help="Tokens of a chunk; published figures have 512."),
    click.option("--chunks", type=click.IntRange(1), help="Read so many chunks.  [default: all]"),
])  # fmt: skip
"""Fidelity on a text."""

_FILE = click.Path(dir_okay=False)

output_options = decorate([
    click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of tables."),
    click.option("--csv", "csv_file", type=_FILE, metavar="FILE", help="Write the table as CSV too; "
                 "with tasks and a --text the figures on the text go beside it (FILE's name.fidelity.csv)."),
    click.option("--markdown", "markdown_file", type=_FILE, metavar="FILE", help="Write tables as Markdown."),
    click.option("--report", "report_file", type=_FILE, metavar="FILE",
                 help="Write a page with plots that needs no network (needs the extra 'report')."),
    click.option("--answers", "answers_file", type=_FILE, metavar="FILE",
                 help="Write every answer with its score as JSON lines."),
    click.option("--read", type=click.IntRange(1), is_flag=False, flag_value=READ, metavar="[N]",
                 help=f"Print the answers to N questions of each task side by side ({READ} unless given), "
                 "those first on which the arms disagree."),
    click.option("--quiet", "-q", is_flag=True, help="No progress on stderr."),
])  # fmt: skip
"""What comes out."""
