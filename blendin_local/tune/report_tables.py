"""Format a tune report as tables and sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from blendin_local.presentation.formatting import (
    NOTHING,
    interval,
    line,
    number,
    percent,
    signed_percent,
    version_facts,
)
from blendin_local.presentation.setting_label import setting_label
from blendin_local.presentation.table import Column, Table, TableRow, unmarked_rows
from blendin_local.tune.result import PairInfo, References, ScoredSetting, TuneReport, UncertainPositions

__all__ = [
    "all_settings",
    "best_settings",
    "calibration_line",
    "calibration_table",
    "facts",
    "fitting_bits",
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
_ROLES = ("base", "guide")


def best_settings(result: TuneReport) -> Table:
    """Base and guide alone, the best setting of every method on the fitting half, the recommended one.

    The held-out figures of a setting that the fitting half chose are not biased by the choice.
    """
    best: dict[str, ScoredSetting] = {}
    for setting in result.settings:
        if setting.method not in best or fitting_bits(setting) < fitting_bits(best[setting.method]):
            best[setting.method] = setting
    for special in (result.best, result.recommendation.setting):
        best[special.method] = special
    rows = [*best.values()]
    # The best setting may be of the recommended one's method.
    if not any(result.best.setting == each.setting for each in rows):
        rows.append(result.best)
    alone = [each for each in rows if each.is_single]
    blends = sorted(
        (each for each in rows if not each.is_single), key=lambda each: _or_infinity(each.bits_per_byte)
    )
    return _table("The best setting of every method", result, [*alone, *blends])


def all_settings(result: TuneReport) -> Table:
    return _table("Every setting", result, result.settings)


def fitting_bits(setting: ScoredSetting) -> float:
    """Return the figure that settings are chosen by: bits per byte on the fitting half; infinity where
    unknown.
    """
    return _or_infinity(setting.fitting_bits_per_byte)


def _or_infinity(bits: float | None) -> float:
    return float("inf") if bits is None else bits


def _table(title: str, result: TuneReport, settings: Sequence[ScoredSetting]) -> Table:
    single = min(_or_infinity(result.alone(role).bits_per_byte) for role in _ROLES)
    rows = []
    for setting in settings:
        bits = setting.bits_per_byte
        gain = None if bits is None or not 0 < single < float("inf") else 1 - bits / single
        cells = (
            setting_label(setting),
            number(bits),
            interval(setting.interval),
            number(setting.held_out_bits_per_byte),
            interval(setting.held_out_interval),
            NOTHING if setting.is_single else signed_percent(gain),
            percent(setting.intervention_rate),
            interval(setting.intervention_rate_interval, 1, as_percent=True),
            number(setting.tokens_per_second, 1),
            interval(setting.tokens_per_second_interval, 1),
            number(setting.bytes_per_second, 0),
            percent(setting.floored or None, 2),
            "●" if setting.pareto else "",
        )
        rows.append(TableRow(cells, _mark(setting, result)))
    return Table(title, _COLUMNS, tuple(rows), explained=_EXPLAINED).without_empty(NOTHING)


def _mark(setting: ScoredSetting, result: TuneReport) -> str:
    if setting.setting == result.recommendation.setting.setting:
        return "recommended"
    return "best of the fitting half" if setting.setting == result.best.setting else ""


# Calibration


def calibration_table(result: TuneReport) -> Table:
    found = result.calibration
    rows = [
        (
            role,
            percent(result.alone(role).accuracy),
            number(found[role].ece_raw),
            number(found[role].ece_fitted),
        )
        for role in _ROLES
    ]
    columns = (
        Column("model", right=False),
        Column("top token right"),
        Column("ECE raw"),
        Column("ECE fitted"),
    )
    return Table("Calibration", columns, unmarked_rows(rows), explained=("ECE", "fitted"))


def calibration_line(result: TuneReport) -> str:
    """ "Calibration error (ECE): base 0.026, fitted 0.025; guide ..."; empty where nothing is known."""
    parts = [
        f"{role} {number(found.ece_raw)}, fitted {number(found.ece_fitted)}"
        for role, found in result.calibration.items()
        if found.ece_raw is not None
    ]
    return f"Calibration error (ECE): {'; '.join(parts)}." if parts else ""


# Where the base is unsure


def uncertain_table(found: UncertainPositions) -> Table | None:
    """Tabulate which model's top token is right; None if the base is never unsure."""
    if not found.positions:
        return None
    shares = (
        ("both are right", found.both_right),
        ("only the guide is right", found.only_guide_right),
        ("only the base is right", found.only_base_right),
        ("neither is right", found.neither_right),
    )
    rows = [(label, percent(share)) for label, share in shares]
    columns = (Column("top tokens", right=False), Column("share"))
    title = f"Where the base is unsure (confidence under γ {number(found.gamma, 2)})"
    return Table(title, columns, unmarked_rows(rows), explained=("where the base is unsure",))


def uncertain_lines(found: UncertainPositions) -> Iterator[str]:
    """One to three sentences on the positions at which the base is unsure."""
    if not found.positions:
        yield "The base was nowhere unsure on these answers: there is nothing to blend."
        return
    yield (
        f"The base is unsure at {percent(found.share)} of the positions ({found.positions:,} in "
        f"all). There its top token is right {percent(found.base_right, 0)} of the time, the guide's "
        f"{percent(found.guide_right, 0)}."
    )
    rank = found.guide_rank
    if rank.mean is not None:
        yield (
            f"There the base holds {number(rank.median, 0)} tokens more probable than the guide's "
            f"favourite (median; mean {number(rank.mean, 1)}). The favourite is in the base's top 10 at "
            f"{percent(rank.top_10, 0)} of them, in the top 50 at {percent(rank.top_50, 0)}, "
            f"in the top 100 at {percent(rank.top_100, 0)}, and in its top-90% mass at "
            f"{percent(rank.top_90_mass, 0)}."
        )
    if found.mean_divergence is not None:
        yield f"Mean divergence of the two there: {number(found.mean_divergence, 2)} bits of at most 1."


# How it was measured


def facts(result: TuneReport) -> list[tuple[str, str]]:
    """Return names and values of what the figures rest on."""
    pair, costs = result.pair, result.costs
    guide_costs = ", ".join(f"{seconds * 1e3:.1f} ms for {tokens}" for tokens, seconds in costs.guide_s)
    return [
        *([("pair", line(pair.name))] if pair.name else []),
        ("base", line(pair.base)),
        ("guide", line(pair.guide)),
        ("vocabularies", _vocabularies(pair)),
        ("reference answers", _references(result.references)),
        ("seed", str(result.references.seed)),
        ("time taken", ", ".join(f"{name} {number(each, 1)} s" for name, each in result.seconds.items())),
        ("decode of the base", f"{costs.base_s * 1e3:.1f} ms a token"),
        ("decodes of the guide", f"{guide_costs} tokens"),
        ("a blend beside them", f"{costs.blend_s * 1e3:.2f} ms"),
        *version_facts(result.versions),
    ]


def _vocabularies(pair: PairInfo) -> str:
    same = "the same" if pair.same_vocabulary else "different: matched by bytes"
    return f"{same} (fingerprints {line(pair.base_fingerprint)[:12]} and {line(pair.guide_fingerprint)[:12]})"


def _references(used: References) -> str:
    parts = [
        f"{used.examples:,} from {line(used.source)}",
        f"{used.positions:,} positions, {used.bytes:,} bytes",
        *([f"{used.skipped:,} skipped"] if used.skipped else []),
        f"{used.held_out_examples:,} held out",
    ]
    return "; ".join(parts)
