"""The tables of a `compare` document, and the lines that are said beside them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from blendin_local.presentation.formatting import (
    NOTHING,
    Document,
    difference,
    interval,
    is_share,
    line,
    measured,
    number,
    p_value,
    percent,
    size,
    version_facts,
)
from blendin_local.presentation.table import Column, Row, Table, rows_of

__all__ = [
    "KINDS",
    "arm_of",
    "arms_table",
    "around_of",
    "cells_of",
    "clearly",
    "facts",
    "overlap_table",
    "task_table",
    "tasks_of",
    "writing_table",
]

KINDS = {"base": "base alone", "guide": "guide alone", "pair": "blend", "model": "one model"}
_CLEAR = 0.05


def tasks_of(result: Document) -> list[Document]:
    """The tasks in their order; one that only cells name is among them."""
    tasks: list[Document] = list(result.get("tasks") or [])
    named = {task.get("name") for task in tasks}
    for cell in result.get("cells") or []:
        if cell.get("task") not in named:
            named.add(cell.get("task"))
            tasks.append({"name": cell.get("task")})
    return tasks


def cells_of(result: Document, task: Document) -> list[Document]:
    """The cells of one task in the order of the arms."""
    order = {arm.get("name"): place for place, arm in enumerate(result.get("arms") or [])}
    cells = [cell for cell in result.get("cells") or [] if cell.get("task") == task.get("name")]
    return sorted(cells, key=lambda cell: order.get(cell.get("arm"), len(order)))


def arm_of(result: Document, name: object) -> Document:
    return next((arm for arm in result.get("arms") or [] if arm.get("name") == name), {})


def title_of(task: Document) -> str:
    """ "gsm8k: accuracy, 50 questions"."""
    parts = [line(task.get("metric") or "score")]
    if task.get("items") is not None:
        parts.append(f"{task['items']:,} questions")
    if task.get("chance") is not None:
        parts.append(f"guessing scores {measured(task['chance'], task.get('scale'))}")
    return f"{line(task.get('name'))}: {', '.join(parts)}"


# Results


def task_table(result: Document, task: Document) -> Table:
    """One row for each arm: its metric, and how it stands against base and guide alone."""
    scale = task.get("scale")
    cells = cells_of(result, task)
    best = max((cell["value"] for cell in cells if cell.get("value") is not None), default=None)
    rows = []
    for cell in cells:
        found = (
            line(cell.get("arm")),
            measured(cell.get("value"), scale),
            around_of(cell, scale),
            *_difference(cell, "base", scale),
            *_difference(cell, "guide", scale),
            *_difference(cell, "reference", scale),
            *_options(cell, scale),
            percent(cell.get("intervention_rate")),
            number(cell.get("tokens_per_second"), 1),
            _scored(cell),
        )
        rows.append(Row(found, "best" if best is not None and cell.get("value") == best else ""))
    columns = (
        Column("arm", right=False),
        Column(line(task.get("metric") or "score")),
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
    return Table(title_of(task), columns, tuple(rows), note, explained).without_empty(NOTHING)


def around_of(found: Document, scale: Sequence[float] | None) -> str:
    share = is_share(scale)
    return interval(found.get("interval"), 1 if share else 2, as_percent=share)


def _options(cell: Document, scale: Sequence[float] | None) -> tuple[str, str]:
    found = cell.get("options") or {}
    by_bytes = found.get("normalised") or {}
    return measured(found.get("value"), scale), measured(by_bytes.get("value"), scale)


def _difference(cell: Document, role: str, scale: Sequence[float] | None) -> tuple[str, str, str]:
    """The difference to base or guide alone, the p-value, and the difference's interval."""
    found = (cell.get("against") or {}).get(role) or {}
    mark = "*" if clearly(found, better=True) or clearly(found, better=False) else ""
    return difference(found.get("difference"), scale) + mark, p_value(_p(found)), around_of(found, scale)


def clearly(found: Document, *, better: bool) -> bool:
    p, value = _p(found), found.get("difference")
    if p is None or value is None or p >= _CLEAR:
        return False
    return bool(value > 0 if better else value < 0)


def _p(found: Document) -> float | None:
    """The corrected p-value, or where there is none the plain one."""
    p: float | None = found.get("p_holm")
    return found.get("p") if p is None else p


def _scored(cell: Document) -> str:
    """How many of the answers could be scored; nothing where all could."""
    n, scored = cell.get("n"), cell.get("scored")
    return NOTHING if n is None or scored is None or n == scored else f"{scored:,} of {n:,}"


def writing_table(result: Document, task: Document) -> Table:
    """One row for each arm: how its replies were written."""
    rows = []
    for cell in cells_of(result, task):
        length = cell.get("length") or {}
        rows.append(
            (
                line(cell.get("arm")),
                percent(cell.get("intervention_rate")),
                percent(cell.get("changed_rate")),
                percent(cell.get("guide_word_rate")),
                number(cell.get("mean_alpha"), 2),
                percent(cell.get("loop_share")),
                number(length.get("mean_tokens"), 0),
                number(length.get("mean_bytes"), 0),
                number(cell.get("tokens_per_second"), 1),
                _reasons(cell.get("finish_reasons")),
            )
        )
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
    title = f"{line(task.get('name'))}: how the replies were written"
    return Table(title, columns, rows_of(rows), explained=explained).without_empty(NOTHING)


def _reasons(found: Any) -> str:
    """ "stop 40, length 10": the most frequent first."""
    if not isinstance(found, dict):
        return NOTHING
    counted = sorted(found.items(), key=lambda item: -(item[1] or 0))
    return ", ".join(f"{line(name)} {count:,}" for name, count in counted if count) or NOTHING


def overlap_table(result: Document) -> Table | None:
    """The rank of the guide's top token in the base's distribution, of the arms that asked the guide."""
    rows = []
    for task in tasks_of(result):
        for cell in cells_of(result, task):
            rank = cell.get("guide_rank") or {}
            if rank.get("mean") is not None:
                rows.append(
                    (
                        line(cell.get("arm")),
                        line(task.get("name")),
                        number(rank.get("mean"), 1),
                        number(rank.get("median"), 0),
                        *(percent(rank.get(f"top_{n}"), 0) for n in (10, 50, 100)),
                        percent(rank.get("top_90_mass"), 0),
                    )
                )
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
    return Table(title, columns, rows_of(rows), explained=explained).without_empty(NOTHING)


def arms_table(result: Document) -> Table | None:
    """What was compared: models, files, memory."""
    rows = []
    for arm in result.get("arms") or []:
        files = arm.get("files") or []
        sizes = [file.get("size_bytes") for file in files if file.get("size_bytes") is not None]
        rows.append(
            (
                line(arm.get("name")),
                KINDS.get(arm.get("kind", ""), line(arm.get("kind") or NOTHING)),
                "; ".join(_file(file) for file in files) or NOTHING,
                size(sum(sizes)) if sizes else NOTHING,
                size(arm.get("peak_memory")),
            )
        )
    if not rows:
        return None
    columns = (
        Column("arm", right=False),
        Column("what", right=False),
        Column("files", right=False, rank=2),
        Column("on disk"),
        Column("peak memory", rank=1),
    )
    return Table("Arms", columns, rows_of(rows), explained=("peak memory",)).without_empty(NOTHING)


def _file(file: Document) -> str:
    name = line(file.get("name") or file.get("path") or NOTHING)
    facts = [line(file[key]) for key in ("quantization",) if file.get(key)]
    return f"{line(file.get('role') or 'file')}: {name}{f' ({facts[0]})' if facts else ''}"


# How it was measured


def facts(result: Document) -> list[tuple[str, str]]:
    names = {
        "seed": "seed",
        "limit": "questions of a task at most",
        "max_tokens": "tokens of a reply at most",
    }
    found = [(shown, str(result[key])) for key, shown in names.items() if result.get(key) is not None]
    for task in result.get("tasks") or []:
        if task.get("source"):
            found.append((f"data of {line(task.get('name'))}", line(task["source"])))
    seconds = result.get("seconds")
    if isinstance(seconds, int | float):
        found.append(("time taken", f"{number(seconds, 1)} s"))
    return [*found, *version_facts(result.get("versions") or {})]
