"""The tables of a `tune` document, and the lines that are said beside them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from blendin_local.presentation.formatting import (
    NOTHING,
    Document,
    interval,
    line,
    number,
    percent,
    same_setting,
    setting_name,
    signed_percent,
)
from blendin_local.presentation.table import Column, Row, Table, rows_of

__all__ = [
    "all_settings",
    "calibration_line",
    "calibration_table",
    "facts",
    "fitting_bits",
    "interesting",
    "settings_of",
    "uncertain_lines",
    "uncertain_table",
]

_COLUMNS = (
    Column("setting", right=False),
    Column("bits per byte"),
    Column("95% interval", rank=3),
    Column("held-out", rank=2),
    Column("held-out 95%", rank=7),
    Column("against best single", rank=4),
    Column("interventions"),
    Column("interventions 95%", rank=9),
    Column("tokens/s"),
    Column("tokens/s 95%", rank=8),
    Column("bytes/s", rank=5),
    Column("at the floor", rank=10),
    Column("front", right=False, rank=6),
)
_EXPLAINED = (
    "bits per byte", "95% interval", "held-out", "intervention rate", "tokens/s", "bytes/s", "Pareto front",
    "pair prior", "at the floor",
)  # fmt: skip


def settings_of(result: Document) -> list[Document]:
    """Every priced setting; base and guide alone come first, made from their own figures if need be."""
    listed: list[Document] = list(result.get("settings") or [])
    named = {setting.get("method") for setting in listed}
    # The guide alone asks nobody: a rate of interventions has no meaning there.
    for role, rate in (("base", 0.0), ("guide", None)):
        figures = result.get(role)
        if role not in named and figures:
            listed.append({"method": role, "intervention_rate": rate, **figures})
    return sorted(listed, key=lambda setting: _ALONE.get(setting.get("method", ""), 2))


_ALONE = {"base": 0, "guide": 1}


def recommended(result: Document) -> Document | None:
    found: Document | None = (result.get("recommendation") or {}).get("setting")
    return found


def interesting(result: Document) -> Table:
    """Base and guide alone, and of every method its best setting; the recommended one is among them.

    Best by the fitting half: its figures on the other half are then no better than they are.
    """
    chosen, wanted = recommended(result), result.get("best")
    best: dict[str, Document] = {}
    for setting in settings_of(result):
        method = setting.get("method", "")
        if method not in best or fitting_bits(setting) < fitting_bits(best[method]):
            best[method] = setting
    for special in (wanted, chosen):
        if special:
            best[special.get("method", "")] = special
    # The one that was found best may be of the recommended one's method.
    rows = [*best.values()]
    if wanted and not any(same_setting(wanted, each) for each in rows):
        rows.append(wanted)
    alone = [each for each in rows if each.get("method") in _ALONE]
    blends = sorted((each for each in rows if each.get("method") not in _ALONE), key=_bits)
    return _table("The best setting of every method", result, [*alone, *blends])


def all_settings(result: Document) -> Table:
    return _table("Every setting", result, settings_of(result))


def fitting_bits(setting: Document) -> float:
    """What a setting is chosen by: its bits per byte on the half of the examples that chooses."""
    value = setting.get("fitting_bits_per_byte")
    return _bits(setting) if value is None else float(value)


def _bits(setting: Document) -> float:
    value = setting.get("bits_per_byte")
    return float("inf") if value is None else float(value)


def _table(title: str, result: Document, settings: list[Document]) -> Table:
    single = min((_bits(result.get(role) or {}) for role in _ALONE), default=float("inf"))
    rows = []
    for setting in settings:
        bits = setting.get("bits_per_byte")
        gain = None if bits is None or not 0 < single < float("inf") else 1 - bits / single
        cells = (
            setting_name(setting),
            number(bits),
            interval(setting.get("interval")),
            number(setting.get("held_out_bits_per_byte")),
            interval(setting.get("held_out_interval")),
            NOTHING if setting.get("method") in _ALONE else signed_percent(gain),
            percent(setting.get("intervention_rate")),
            interval(setting.get("intervention_rate_interval"), 1, as_percent=True),
            number(setting.get("tokens_per_second"), 1),
            interval(setting.get("tokens_per_second_interval"), 1),
            number(setting.get("bytes_per_second"), 0),
            percent(setting.get("floored") or None, 2),
            "●" if setting.get("pareto") else "",
        )
        rows.append(Row(cells, _mark(setting, result)))
    return Table(title, _COLUMNS, tuple(rows), explained=_EXPLAINED).without_empty(NOTHING)


def _mark(setting: Document, result: Document) -> str:
    if same_setting(setting, recommended(result)):
        return "recommended"
    return "best of the fitting half" if same_setting(setting, result.get("best")) else ""


# Calibration


def calibration_table(result: Document) -> Table | None:
    found = result.get("calibration") or {}
    rows = [
        (
            role,
            percent((result.get(role) or {}).get("accuracy")),
            number(found[role].get("ece_raw")),
            number(found[role].get("ece_fitted")),
        )
        for role in ("base", "guide")
        if found.get(role)
    ]
    if not rows:
        return None
    columns = (
        Column("model", right=False),
        Column("top token right"),
        Column("ECE raw"),
        Column("ECE fitted"),
    )
    return Table("Calibration", columns, rows_of(rows), explained=("ECE", "fitted"))


def calibration_line(result: Document) -> str:
    """ "Calibration error of the base .026, fitted .025; of the guide ...": one line, or none."""
    parts = []
    for role in ("base", "guide"):
        found = (result.get("calibration") or {}).get(role)
        if found and found.get("ece_raw") is not None:
            parts.append(f"{role} {number(found['ece_raw'])}, fitted {number(found.get('ece_fitted'))}")
    return f"Calibration error (ECE): {'; '.join(parts)}." if parts else ""


# Where the base is unsure


def uncertain_table(result: Document) -> Table | None:
    found = result.get("uncertain")
    if not found or not found.get("positions"):
        return None
    shares = (
        ("both are right", "both_right"),
        ("only the guide is right", "only_guide_right"),
        ("only the base is right", "only_base_right"),
        ("neither is right", "neither_right"),
    )
    rows = [(label, percent(found.get(key))) for label, key in shares]
    columns = (Column("top tokens", right=False), Column("share"))
    title = f"Where the base is unsure (confidence under γ {number(found.get('gamma'), 2)})"
    return Table(title, columns, rows_of(rows), explained=("where the base is unsure",))


def uncertain_lines(result: Document) -> Iterator[str]:
    """What there is to say of the positions at which the base is unsure, a sentence each."""
    found = result.get("uncertain")
    if not found or not found.get("positions"):
        yield "The base was nowhere unsure on these answers: there is nothing to blend."
        return
    yield (
        f"The base is unsure at {percent(found.get('share'))} of the positions ({found['positions']:,} in "
        f"all). There its top token is right {percent(found.get('base_right'), 0)} of the time, the guide's "
        f"{percent(found.get('guide_right'), 0)}."
    )
    rank = found.get("guide_rank") or {}
    if rank.get("mean") is not None:
        yield (
            f"There the base holds {number(rank.get('median'), 0)} tokens more probable than the guide's "
            f"favourite (median; mean {number(rank['mean'], 1)}). The favourite is in the base's top 10 at "
            f"{percent(rank.get('top_10'), 0)} of them, in the top 50 at {percent(rank.get('top_50'), 0)}, "
            f"in the top 100 at {percent(rank.get('top_100'), 0)}, and in its top-90% mass at "
            f"{percent(rank.get('top_90_mass'), 0)}."
        )
    if found.get("mean_divergence") is not None:
        yield f"Mean divergence of the two there: {number(found['mean_divergence'], 2)} bits of at most 1."


# How it was measured


def facts(result: Document) -> list[tuple[str, str]]:
    """Names and values of what the figures rest on."""
    pair, used = result.get("pair") or {}, result.get("references") or {}
    found = [
        ("pair", line(pair.get("name") or NOTHING)),
        ("base", line(pair.get("base") or NOTHING)),
        ("guide", line(pair.get("guide") or NOTHING)),
        ("vocabularies", _vocabularies(pair)),
        ("reference answers", _references(used)),
        ("seed", NOTHING if used.get("seed") is None else str(used["seed"])),
        *_seconds(result.get("seconds")),
        *_costs(result.get("costs")),
        *versions(result),
    ]
    return [(name, value) for name, value in found if value != NOTHING]


def _vocabularies(pair: Document) -> str:
    if pair.get("same_vocabulary") is None:
        return NOTHING
    prints = " and ".join(
        line(pair[f"{role}_fingerprint"])[:12] for role in _ALONE if pair.get(f"{role}_fingerprint")
    )
    same = "the same" if pair["same_vocabulary"] else "different: matched by bytes"
    return f"{same} (fingerprints {prints})" if prints else same


def _references(used: Document) -> str:
    if used.get("examples") is None:
        return NOTHING
    parts = [f"{used['examples']:,} from {line(used.get('source') or 'the built-in set')}"]
    if used.get("positions") is not None:
        parts.append(f"{used['positions']:,} positions, {used.get('bytes') or 0:,} bytes")
    if used.get("skipped"):
        parts.append(f"{used['skipped']:,} skipped")
    if used.get("held_out_examples") is not None:
        parts.append(f"{used['held_out_examples']:,} held out")
    return "; ".join(parts)


def _seconds(found: Any) -> Iterator[tuple[str, str]]:
    if isinstance(found, dict) and (parts := [f"{line(k)} {number(v, 1)} s" for k, v in found.items()]):
        yield "time taken", ", ".join(parts)


def _costs(found: Any) -> Iterator[tuple[str, str]]:
    if not isinstance(found, dict):
        return
    if found.get("base_s") is not None:
        yield "decode of the base", f"{found['base_s'] * 1e3:.1f} ms a token"
    if sizes := found.get("guide_s"):
        shown = ", ".join(f"{seconds * 1e3:.1f} ms for {tokens}" for tokens, seconds in sizes)
        yield "decodes of the guide", f"{shown} tokens"
    if found.get("blend_s") is not None:
        yield "a blend beside them", f"{found['blend_s'] * 1e3:.2f} ms"


def versions(result: Document) -> Iterator[tuple[str, str]]:
    found = result.get("versions")
    if isinstance(found, dict):
        for name, value in found.items():
            yield line(name).replace("_", "-"), line(value)
