"""Summarize a comparison in one or two sentences for each task."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from blendin_local.compare.report_words import is_clearly, score, score_interval
from blendin_local.compare.result import Cell, CompareReport, FidelityRow, PairedTest
from blendin_local.presentation.formatting import NOTHING, line, number, percent

__all__ = ["verdicts"]


def verdicts(result: CompareReport) -> Iterator[str]:
    """Yield for every task the best arm and whether a blend is clearly better than its models; for a text
    the model nearest to the reference and the one with the fewest bits per byte.
    """
    for task in result.tasks:
        scored = [(cell.value, cell) for cell in result.cells_of(task) if cell.value is not None]
        if not scored:
            yield f"{line(task.name)}: nothing could be scored."
            continue
        highest = max(value for value, _ in scored)
        first = [cell for value, cell in scored if value == highest]
        others = f" and {len(first) - 1} more" if len(first) > 1 else ""
        verb = "score" if others else "scores"
        said = f"{line(task.name)}: {line(first[0].arm)}{others} {verb} highest, {score(highest, task)}"
        around = score_interval(first[0].interval, task)
        said += "" if around == NOTHING else f" (95% interval {around})"
        cells = [cell for _, cell in scored]
        yield " ".join([f"{said}.", *_blends(result, cells), *_quantizations(cells)])
    if said := " ".join(_on_text(result.fidelity)):
        yield said


def _blends(result: CompareReport, cells: Sequence[Cell]) -> Iterator[str]:
    """Yield a sentence on blends against their own models, if there are blends."""
    blends = [(cell, _own_tests(cell)) for cell in cells if result.arm(cell.arm).kind == "pair"]
    compared = [(cell, tests) for cell, tests in blends if tests]
    if not compared:
        return
    clear = [cell for cell, tests in compared if all(is_clearly(test, better=True) for test in tests)]
    if clear:
        best = max(clear, key=lambda cell: cell.value or 0.0)
        yield f"{line(best.arm)} is clearly better than each of its models alone."
    elif all(any(is_clearly(test, better=False) for test in tests) for _, tests in compared):
        yield "Every blend is clearly worse than one of its models alone."
    else:
        yield "No blend is clearly better than both of its models alone: more questions may tell (--limit)."


def _own_tests(cell: Cell) -> list[PairedTest]:
    """Return the tests of a blend against its base and its guide."""
    return [test for role in ("base", "guide") if (test := cell.against.get(role))]


def _quantizations(cells: Sequence[Cell]) -> Iterator[str]:
    """Yield sentences on single models against the first of them."""
    tested = [(cell, test) for cell in cells if (test := cell.against.get("reference"))]
    if not tested:
        return
    reference = line(tested[0][1].arm)
    differing = False
    for better, word in ((False, "worse"), (True, "better")):
        if clear := [line(cell.arm) for cell, test in tested if is_clearly(test, better=better)]:
            differing = True
            yield f"Clearly {word} than {reference}: {', '.join(clear)}."
    if not differing:
        yield f"No model differs clearly from {reference}."


def _on_text(models: Sequence[FidelityRow]) -> Iterator[str]:
    near = [(each.mean_kld, each) for each in models if each.mean_kld is not None]
    if near:
        kld, best = min(near, key=lambda each: each[0])
        name, reference = line(best.model), line(best.reference)
        figure, same = number(kld, 4), f"the same top token at {percent(best.same_top)}."
        if len(near) > 1:
            yield f"On the text {name} is nearest to {reference}: mean KLD {figure}, {same}"
        else:
            yield f"On the text {name} is {figure} from {reference} (mean KLD), {same}"
    known = [(each.bits_per_byte, each) for each in models if each.bits_per_byte is not None]
    if not known or len(near) == len(models) - 1 > 0:
        return
    # One model alone, or some of another vocabulary, which only bits per byte tell apart.
    bits, best = min(known, key=lambda each: each[0])
    verb = "foresees the text best," if len(known) > 1 else "has on the text"
    yield f"{line(best.model)} {verb} {number(bits, 3)} bits per byte."
