"""What a comparison comes to, a sentence or two for each task."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from blendin_local.compare.report_tables import arm_of, around_of, cells_of, clearly, tasks_of
from blendin_local.presentation.formatting import NOTHING, Document, line, measured, number, percent

__all__ = ["verdicts"]


def verdicts(result: Document) -> Iterator[str]:
    """For every task the best arm, and whether a blend is clearly better than its models; for a text the
    model nearest to the reference, and the one that foresees it best.
    """
    for task in tasks_of(result):
        cells = [cell for cell in cells_of(result, task) if cell.get("value") is not None]
        name, scale = line(task.get("name")), task.get("scale")
        if not cells:
            yield f"{name}: nothing could be scored."
            continue
        best = max(cells, key=lambda cell: cell["value"])
        first = [line(cell.get("arm")) for cell in cells if cell["value"] == best["value"]]
        others = f" and {len(first) - 1} more" if len(first) > 1 else ""
        verb = "score" if others else "scores"
        said = f"{name}: {first[0]}{others} {verb} highest, {measured(best['value'], scale)}"
        around = around_of(best, scale)
        said += "" if around == NOTHING else f" (95% interval {around})"
        yield " ".join([f"{said}.", *_blends(result, cells), *_quantizations(cells)])
    if said_of := " ".join(_on_text(result.get("fidelity") or [])):
        yield said_of


def _blends(result: Document, cells: Sequence[Document]) -> Iterator[str]:
    """What there is to say of blends against their own models; nothing where there are no blends."""
    blends = [cell for cell in cells if arm_of(result, cell.get("arm")).get("kind") == "pair"]
    compared = [cell for cell in blends if _against(cell)]
    if not compared:
        return
    clear = [cell for cell in compared if all(clearly(found, better=True) for found in _against(cell))]
    worse = [cell for cell in compared if any(clearly(found, better=False) for found in _against(cell))]
    if clear:
        best = max(clear, key=lambda cell: cell["value"])
        yield f"{line(best.get('arm'))} is clearly better than each of its models alone."
    elif len(worse) == len(compared):
        yield "Every blend is clearly worse than one of its models alone."
    else:
        yield "No blend is clearly better than both of its models alone: more questions may tell (--limit)."


def _quantizations(cells: Sequence[Document]) -> Iterator[str]:
    """What there is to say of single models against the first of them."""
    tested = [(cell, found) for cell in cells if (found := (cell.get("against") or {}).get("reference"))]
    if not tested:
        return
    reference = line(tested[0][1].get("arm"))
    for better, word in ((False, "worse"), (True, "better")):
        if clear := [line(cell.get("arm")) for cell, found in tested if clearly(found, better=better)]:
            yield f"Clearly {word} than {reference}: {', '.join(clear)}."
    if not any(clearly(found, better=better) for _, found in tested for better in (False, True)):
        yield f"No model differs clearly from {reference}."


def _on_text(models: Sequence[Document]) -> Iterator[str]:
    near = [each for each in models if (each.get("kld") or {}).get("mean") is not None]
    if near:
        best = min(near, key=lambda each: each["kld"]["mean"])
        name, reference = line(best.get("model")), line(best.get("reference"))
        kld, same = number(best["kld"]["mean"], 4), f"the same top token at {percent(best.get('same_top'))}."
        if len(near) > 1:
            yield f"On the text {name} is nearest to {reference}: mean KLD {kld}, {same}"
        else:
            yield f"On the text {name} is {kld} from {reference} (mean KLD), {same}"
    known = [each for each in models if each.get("bits_per_byte") is not None]
    if not known or len(near) == len(models) - 1 > 0:
        return
    # One model alone, or some of another vocabulary, which only bits per byte tell apart.
    best = min(known, key=lambda each: each["bits_per_byte"])
    verb = "foresees the text best," if len(known) > 1 else "has on the text"
    yield f"{line(best.get('model'))} {verb} {number(best['bits_per_byte'], 3)} bits per byte."


def _against(cell: Document) -> list[Document]:
    against = cell.get("against") or {}
    return [against[role] for role in ("base", "guide") if against.get(role)]
