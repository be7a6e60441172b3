"""What a comparison of several pairs found across them: the paper's figures, from the user's own runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from blendin_local.compare.report_tables import tasks_of
from blendin_local.presentation.formatting import (
    NOTHING,
    Document,
    difference,
    line,
    number,
    p_value,
    signed,
    signed_percent,
)
from blendin_local.presentation.table import Column, Table, rows_of

__all__ = ["across_lines", "across_tables", "family_means", "gains"]


def gains(result: Document, role: str) -> tuple[list[str], list[Document], list[list[float | None]]]:
    """Blends, tasks, and the difference of each to its base or guide alone on each task."""
    tasks = tasks_of(result)
    arms = [line(arm.get("name")) for arm in result.get("arms") or [] if arm.get("kind") == "pair"]
    found = {
        (line(cell.get("arm")), cell.get("task")): ((cell.get("against") or {}).get(role) or {}).get(
            "difference"
        )
        for cell in result.get("cells") or []
    }
    return arms, tasks, [[found.get((arm, task.get("name"))) for task in tasks] for arm in arms]


def across_lines(result: Document) -> Iterator[str]:
    across = result.get("across") or {}
    for found in across.get("intervention_vs_metric") or []:
        if found.get("r") is not None:
            method = f", {line(found['method'])}" if found.get("method") else ""
            yield (
                f"{line(found.get('task'))}{method}: intervention rate against score r = "
                f"{signed(found['r'], 2)}, p = {p_value(found.get('p'))}, {found.get('n')} pairs."
            )
    if family := across.get("family"):
        yield f"Mean gain over the base {family_means(family)}."


def family_means(family: Document) -> str:
    within, cross = (signed_percent(family.get(key)) for key in ("within_mean", "cross_mean"))
    return (
        f"within one family {within} ({family.get('n_within')} pairs), across families {cross} "
        f"({family.get('n_cross')} pairs); Cohen's d {signed(family.get('cohens_d'), 2)}"
    )


def across_tables(result: Document) -> Iterator[Table]:
    across = result.get("across") or {}
    if found := across.get("intervention_vs_metric"):
        rows = [
            (
                line(each.get("task")),
                line(each.get("method") or NOTHING),
                signed(each.get("r"), 2),
                p_value(each.get("p")),
                number(each.get("n"), 0),
            )
            for each in found
        ]
        titles = (Column("r"), Column("p"), Column("pairs"))
        columns = (Column("task", right=False), Column("method", right=False), *titles)
        yield Table("Intervention rate against score", columns, rows_of(rows), explained=("r",))
    if found := across.get("gain"):
        yield _gain_table(result, across, found)


def _gain_table(result: Document, across: Document, found: Sequence[Document]) -> Table:
    scales = {task.get("name"): task.get("scale") for task in tasks_of(result)}
    gaps = {
        (each.get("arm"), each.get("task")): each.get("gap") for each in across.get("capability_gap") or []
    }
    rows = []
    for each in found:
        name, task = each.get("arm"), each.get("task")
        values = (each.get("over_base"), each.get("over_guide"), gaps.get((name, task)))
        rows.append((line(name), line(task), *(difference(value, scales.get(task)) for value in values)))
    titles = ("over the base", "over the guide", "capability gap")
    columns = (Column("arm", right=False), Column("task", right=False), *map(Column, titles))
    table = Table("Gain and capability gap", columns, rows_of(rows), explained=("capability gap",))
    return table.without_empty(NOTHING)
