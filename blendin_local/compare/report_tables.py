"""Format a comparison as tables."""

from __future__ import annotations

from collections.abc import Mapping

from blendin_local.compare.report_words import KINDS, difference, is_clearly, score, score_interval
from blendin_local.compare.result import Cell, CompareReport, ModelFile, TaskInfo
from blendin_local.presentation.formatting import (
    NOTHING,
    line,
    number,
    p_value,
    percent,
    size,
    version_facts,
)
from blendin_local.presentation.table import Column, Table, TableRow, unmarked_rows

__all__ = ["arms_table", "facts", "overlap_table", "task_table", "writing_table"]


def _title(task: TaskInfo) -> str:
    """ "gsm8k: accuracy, 50 questions"."""
    guessing = [] if task.chance is None else [f"guessing scores {score(task.chance, task)}"]
    parts = (line(task.metric), f"{task.items:,} questions", *guessing)
    return f"{line(task.name)}: {', '.join(parts)}"


# Results


def task_table(result: CompareReport, task: TaskInfo) -> Table:
    """Tabulate the metric of each arm and its differences to base and guide alone."""
    cells = result.cells_of(task)
    best = max((cell.value for cell in cells if cell.value is not None), default=None)
    rows = []
    for cell in cells:
        found = (
            line(cell.arm),
            score(cell.value, task),
            score_interval(cell.interval, task),
            *_difference(cell, "base", task),
            *_difference(cell, "guide", task),
            *_difference(cell, "reference", task),
            *_options(cell, task),
            percent(cell.intervention_rate),
            number(cell.tokens_per_second, 1),
            _scored(cell),
        )
        rows.append(TableRow(found, "best" if best is not None and cell.value == best else ""))
    columns = (
        Column("arm", right=False),
        Column(line(task.metric)),
        Column("95% interval", rank=1),
        Column("vs base", rank=2),
        Column("p", rank=8),
        Column("95% interval", rank=10),
        Column("vs guide", rank=3),
        Column("p", rank=9),
        Column("95% interval", rank=11),
        Column("vs reference", rank=3),
        Column("p", rank=9),
        Column("95% interval", rank=11),
        Column("by options", rank=7),
        Column("per byte", rank=12),
        Column("interventions", rank=5),
        Column("tokens/s", rank=4),
        Column("scored", rank=6),
    )
    explained = (
        "95% interval", "vs base, vs guide", "p", "by options", "chance", "intervention rate", "tokens/s",
    )  # fmt: skip
    clear = any(row.cells[place].endswith("*") for row in rows for place in (3, 6, 9))
    note = "* clear: p under 0.05 after Holm's correction" if clear else ""
    return Table(_title(task), columns, tuple(rows), note, explained).without_empty(NOTHING)


def _difference(cell: Cell, role: str, task: TaskInfo) -> tuple[str, str, str]:
    """Return the difference to a model alone, its p value, and its interval."""
    test = cell.against.get(role)
    if not test:
        return NOTHING, NOTHING, NOTHING
    mark = "*" if is_clearly(test, better=True) or is_clearly(test, better=False) else ""
    return difference(test.difference, task) + mark, p_value(test.p_holm), score_interval(test.interval, task)


def _options(cell: Cell, task: TaskInfo) -> tuple[str, str]:
    if not cell.options:
        return NOTHING, NOTHING
    return score(cell.options.value, task), score(cell.options.normalised.value, task)


def _scored(cell: Cell) -> str:
    """Return the number of scored answers; a dash if all were scored."""
    return NOTHING if cell.n == cell.scored else f"{cell.scored:,} of {cell.n:,}"


def writing_table(result: CompareReport, task: TaskInfo) -> Table:
    """Tabulate how the replies of each arm were written."""
    rows = [
        (
            line(cell.arm),
            percent(cell.intervention_rate),
            percent(cell.changed_rate),
            percent(cell.guide_word_rate),
            number(cell.mean_alpha, 2),
            percent(cell.loop_share),
            number(cell.length.mean_tokens, 0),
            number(cell.length.mean_bytes, 0),
            number(cell.tokens_per_second, 1),
            _reasons(cell.finish_reasons),
        )
        for cell in result.cells_of(task)
    ]
    columns = (
        Column("arm", right=False),
        Column("interventions"),
        Column("changed"),
        Column("guide words", rank=3),
        Column("mean α", rank=4),
        Column("loops", rank=1),
        Column("tokens", rank=2),
        Column("bytes", rank=6),
        Column("tokens/s", rank=7),
        Column("ended by", right=False, rank=5),
    )
    explained = (
        "intervention rate", "changed-token rate", "guide-word rate", "mean α", "loops", "tokens/s",
        "finish reasons",
    )  # fmt: skip
    title = f"{line(task.name)}: how the replies were written"
    return Table(title, columns, unmarked_rows(rows), explained=explained).without_empty(NOTHING)


def _reasons(found: Mapping[str, int]) -> str:
    """ "stop 40, length 10": the most frequent first."""
    counted = sorted(found.items(), key=lambda item: -item[1])
    return ", ".join(f"{line(name)} {count:,}" for name, count in counted if count) or NOTHING


def overlap_table(result: CompareReport) -> Table | None:
    """Return the rank of the guide's top token in the base's distribution, of the arms that asked the
    guide.
    """
    rows = [
        (
            line(cell.arm),
            line(task.name),
            number(rank.mean, 1),
            number(rank.median, 0),
            *(percent(share, 0) for share in (rank.top_10, rank.top_50, rank.top_100, rank.top_90_mass)),
        )
        for task in result.tasks
        for cell in result.cells_of(task)
        if (rank := cell.guide_rank)
    ]
    if not rows:
        return None
    titles = ("mean rank", "median", "in top 10", "in top 50", "in top 100", "in top-90% mass")
    columns = (
        Column("arm", right=False),
        Column("task", right=False),
        *(Column(title, rank=place) for place, title in enumerate(titles)),
    )
    explained = ("rank of the guide's token", "top-90% mass")
    title = "Where the base was unsure: the guide's favourite among the base's tokens"
    return Table(title, columns, unmarked_rows(rows), explained=explained).without_empty(NOTHING)


def arms_table(result: CompareReport) -> Table | None:
    """Tabulate models, files and memory of every arm."""
    rows = [
        (
            line(arm.name),
            KINDS[arm.kind],
            "; ".join(map(_file, arm.files)) or NOTHING,
            size(sum(file.size_bytes for file in arm.files) or None),
            size(arm.peak_memory),
        )
        for arm in result.arms
    ]
    if not rows:
        return None
    columns = (
        Column("arm", right=False),
        Column("what", right=False),
        Column("files", right=False, rank=2),
        Column("on disk"),
        Column("peak memory", rank=1),
    )
    return Table("Arms", columns, unmarked_rows(rows), explained=("peak memory",)).without_empty(NOTHING)


def _file(file: ModelFile) -> str:
    return f"{line(file.role)}: {line(file.name)} ({line(file.quantization)})"


# How it was measured


def facts(result: CompareReport) -> list[tuple[str, str]]:
    """Return names and values of what the figures rest on."""
    limits = (
        ("questions of a task at most", result.limit),
        ("tokens of a reply at most", result.max_tokens),
    )
    return [
        ("seed", str(result.seed)),
        *((name, str(value)) for name, value in limits if value is not None),
        *((f"data of {line(task.name)}", line(task.source)) for task in result.tasks if task.source),
        ("time taken", f"{number(result.seconds, 1)} s"),
        *version_facts(result.versions),
    ]
