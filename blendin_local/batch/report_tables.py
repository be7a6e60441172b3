"""A job of offline generation in sentences and tables, for its end summary and its page alike.

A job's figures are what `JobStats.as_dict` gives. Its caller may add more: left (rows of the input not dealt
with), input, output, parallel, settings and models (as in `run_manifest.RunManifest`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

from blendin_local.batch.flagged_rows import COMMON
from blendin_local.presentation.explanation import in_short
from blendin_local.presentation.formatting import (
    NOTHING,
    Document,
    duration,
    line,
    number,
    percent,
    shortened,
)
from blendin_local.presentation.table import Column, Table, rows_of
from blendin_local.settings import BlendSettings, SamplingSettings

__all__ = [
    "counted",
    "ended_table",
    "facts",
    "failed_table",
    "headline",
    "hints",
    "how_sure",
    "reliability_name",
    "spread_line",
]


def reliability_name(figures: Document) -> str:
    return "confidence (not calibrated)" if figures.get("calibrated") is False else "reliability"


def counted(figures: Document) -> str:
    """ "1,000 rows: 987 answered, 13 failed; 120 of them kept from before; 40 left"."""
    rows, failed, kept = (figures.get(name) or 0 for name in ("rows", "failed", "kept"))
    parts = [f"{rows:,} {'row' if rows == 1 else 'rows'}: {figures.get('answered') or 0:,} answered"]
    if failed:
        parts[0] += f", {failed:,} failed"
    if kept:
        parts.append(f"{kept:,} of them kept from before")
    if left := figures.get("left"):
        parts.append(f"{left:,} left to do")
    return "; ".join(parts)


def headline(figures: Document) -> str:
    """How much was written, and how fast."""
    written = f"{figures.get('new_tokens') or 0:,} tokens in {duration(figures.get('seconds') or 0)}"
    speed = figures.get("tokens_per_second")
    return written if speed is None else f"{written}, {number(speed, 1)} tokens/s"


def how_sure(figures: Document) -> Iterator[tuple[str, str]]:
    """Names and values of the four rates."""
    for name, key in (
        ("intervention rate", "intervention_rate"),
        ("changed tokens", "changed_token_rate"),
        ("guide words", "guide_word_rate"),
        ("weak steps", "weak_share"),
    ):
        yield name, percent(figures.get(key))


def spread_line(spread: Document, decimals: int = 2) -> str:
    """ "median 0.71, eight of ten from 0.52 to 0.84"; empty where there is nothing."""
    deciles = spread.get("deciles") or []
    if not deciles:
        return ""
    low, middle, high = (number(value, decimals) for value in (deciles[0], spread["median"], deciles[-1]))
    return f"median {middle}, eight of ten from {low} to {high}"


def hints(figures: Document) -> Iterator[str]:
    """What the figures suggest to do, one sentence each."""
    answered, ended = figures.get("answered") or 0, figures.get("finish_reasons") or {}
    cut = ended.get("length") or 0
    if cut > COMMON * answered:
        yield f"{_answers(cut)} cut off at the token limit: raise --max-tokens if you want the rest of them."
    if full := ended.get("context"):
        yield (
            f"{_answers(full)} cut off because the context was full: to have them whole, give a larger "
            "--n-ctx and another --output, or --overwrite."
        )
    if long := (figures.get("errors") or {}).get("too long"):
        rows = f"{long:,} {'row was' if long == 1 else 'rows were'}"
        yield f"{rows} too long for the context: give --retry-failed and a larger --n-ctx."
    if looped := figures.get("looped"):
        sampling = (figures.get("settings") or {}).get("sampling") or {}
        greedy = sampling.get("temperature") == 0
        what = "sample with --temperature 0.7 --dry-multiplier 0.8" if greedy else "raise --dry-multiplier"
        yield f"{_answers(looped)} caught in a loop: {what}. Models are sure of what they repeat."
    if empty := figures.get("empty"):
        yield f"{_answers(empty)} empty."


def _answers(count: int) -> str:
    return f"{count:,} {'answer was' if count == 1 else 'answers were'}"


# Tables


def ended_table(figures: Document) -> Table:
    return _counts("Why answers ended", "ended by", "answers", figures.get("finish_reasons") or {})


def failed_table(figures: Document) -> Table:
    return _counts("Failures", "what failed", "rows", figures.get("errors") or {})


def _counts(title: str, what: str, of: str, counts: Mapping[str, int]) -> Table:
    total = sum(counts.values())
    cells = [(line(name), f"{count:,}", percent(count / total)) for name, count in counts.items() if count]
    return Table(title, (Column(what, right=False), Column(of), Column("share")), rows_of(cells))


# Settings and models


def facts(figures: Document) -> list[tuple[str, str]]:
    """Names and values of what decided the answers, and of where they are."""
    settings, models = figures.get("settings") or {}, figures.get("models") or {}
    found = [(name, line(figures[name])) for name in ("input", "output") if figures.get(name)]
    found += [(role, _model(models[role])) for role in ("base", "guide") if models.get(role)]
    if blend := settings.get("blend"):
        found.append(("method", in_short(BlendSettings(**_known(BlendSettings, blend)))))
    if sampling := settings.get("sampling"):
        found.append(("sampling", _sampling(sampling)))
    if settings.get("system"):
        found.append(("system prompt", shortened(settings["system"], 200)))
    for name, key in (("tokens of an answer at most", "max_tokens"), ("seed", "seed")):
        if settings.get(key) is not None:
            found.append((name, f"{settings[key]:,}" if key == "max_tokens" else str(settings[key])))
    if settings.get("stop"):
        found.append(("stop strings", " ".join(map(repr, settings["stop"]))))
    if figures.get("parallel"):
        found.append(("answered side by side", f"{figures['parallel']:,}"))
    for part in ("options", "versions"):
        for name, value in (settings.get(part) or {}).items():
            found.append((line(name).replace("_", "-"), line(value)))
    if prompts := figures.get("prompt_tokens"):
        written = figures.get("tokens") or 0
        found.append(("tokens of all answers", f"{written:,} written, {prompts:,} of prompts"))
    found.append(("time taken", duration(figures.get("seconds") or 0)))
    return found


def _known(cls: type, values: Mapping[str, Any]) -> dict[str, Any]:
    return {field.name: values[field.name] for field in fields(cls) if field.name in values}


def _sampling(sampling: Document) -> str:
    """Greedy, or whatever differs from it."""
    plain = SamplingSettings()
    changed = {
        name: value
        for name, value in _known(SamplingSettings, sampling).items()
        if value != getattr(plain, name)
    }
    if "temperature" not in changed:
        changed = {"greedy": ""} | changed
    return ", ".join(f"{name.replace('_', ' ')} {value}".rstrip() for name, value in changed.items())


def _model(model: Document) -> str:
    parts = [f"SHA-256 {line(model['sha256'])[:12]}"] if model.get("sha256") else []
    form = model.get("format")
    name = form.get("name") if isinstance(form, Mapping) else form
    if name:
        parts.append(f"prompt format {line(name)}")
    if "calibration" in model:
        parts.append("calibrated" if model["calibration"] else "not calibrated")
    return f"{line(model.get('name') or NOTHING)} ({', '.join(parts)})" if parts else line(model.get("name"))
