"""Format the figures across the pairs of a comparison as sentences and tables."""

from __future__ import annotations

from collections.abc import Iterator

from blendin_local.compare.report_words import difference
from blendin_local.compare.result import AcrossPairs, CompareReport, FamilyGain
from blendin_local.presentation.formatting import (
    NOTHING,
    line,
    number,
    p_value,
    signed_number,
    signed_percent,
)
from blendin_local.presentation.table import Column, Table, unmarked_rows

__all__ = ["across_lines", "across_tables", "family_means"]


def across_lines(result: CompareReport) -> Iterator[str]:
    if not result.across:
        return
    for found in result.across.intervention_vs_metric:
        if found.r is not None:
            method = f", {line(found.method)}" if found.method else ""
            yield (
                f"{line(found.task)}{method}: intervention rate against score r = "
                f"{signed_number(found.r, 2)}, p = {p_value(found.p)}, {found.n} pairs."
            )
    if result.across.family:
        yield f"Mean gain over the base {family_means(result.across.family)}."


def family_means(family: FamilyGain) -> str:
    return (
        f"within one family {signed_percent(family.within_mean)} ({family.n_within} pairs), across families "
        f"{signed_percent(family.cross_mean)} ({family.n_cross} pairs); "
        f"Cohen's d {signed_number(family.cohens_d, 2)}"
    )


def across_tables(result: CompareReport) -> Iterator[Table]:
    if not result.across:
        return
    if found := result.across.intervention_vs_metric:
        rows = [
            (
                line(each.task),
                line(each.method or NOTHING),
                signed_number(each.r, 2),
                p_value(each.p),
                number(each.n, 0),
            )
            for each in found
        ]
        titles = (Column("r"), Column("p"), Column("pairs"))
        columns = (Column("task", right=False), Column("method", right=False), *titles)
        yield Table("Intervention rate against score", columns, unmarked_rows(rows), explained=("r",))
    if result.across.gain:
        yield _gain_table(result, result.across)


def _gain_table(result: CompareReport, across: AcrossPairs) -> Table:
    tasks = {task.name: task for task in result.tasks}
    gaps = {(each.arm, each.task): each.gap for each in across.capability_gap}
    rows = []
    for each in across.gain:
        values = (each.over_base, each.over_guide, gaps.get((each.arm, each.task)))
        shown = (difference(value, tasks[each.task]) for value in values)
        rows.append((line(each.arm), line(each.task), *shown))
    titles = ("over the base", "over the guide", "capability gap")
    columns = (Column("arm", right=False), Column("task", right=False), *map(Column, titles))
    table = Table("Gain and capability gap", columns, unmarked_rows(rows), explained=("capability gap",))
    return table.without_empty(NOTHING)
