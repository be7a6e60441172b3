"""Format the report of a job as sentences and tables, for the terminal summary and the HTML page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

from blendin_local.batch.flagged_rows import COMMON_SHARE
from blendin_local.batch.job_report import Distribution, JobReport
from blendin_local.presentation.formatting import (
    NOTHING,
    duration,
    line,
    number,
    percent,
    shorten,
)
from blendin_local.presentation.setting_label import setting_label
from blendin_local.presentation.table import Column, Table, unmarked_rows
from blendin_local.settings import BlendSettings, SamplingSettings

__all__ = [
    "ended_table",
    "facts",
    "failed_table",
    "format_counts",
    "headline",
    "hints",
    "rates",
    "reliability_name",
    "spread_line",
]


def reliability_name(report: JobReport) -> str:
    return "confidence (not calibrated)" if report.calibrated is False else "reliability"


def format_counts(report: JobReport) -> str:
    """ "1,000 rows: 987 answered, 13 failed; 120 of them kept from before; 40 left"."""
    rows = report.rows
    parts = [f"{rows:,} {'row' if rows == 1 else 'rows'}: {report.answered:,} answered"]
    if report.failed:
        parts[0] += f", {report.failed:,} failed"
    if report.kept:
        parts.append(f"{report.kept:,} of them kept from before")
    if report.left:
        parts.append(f"{report.left:,} left to do")
    return "; ".join(parts)


def headline(report: JobReport) -> str:
    """Return tokens, time and speed in one sentence."""
    written = f"{report.new_tokens:,} tokens in {duration(report.seconds)}"
    speed = report.tokens_per_second
    return written if speed is None else f"{written}, {number(speed, 1)} tokens/s"


def rates(report: JobReport) -> Iterator[tuple[str, str]]:
    """Yield name and value of each rate."""
    yield "intervention rate", percent(report.intervention_rate)
    yield "changed tokens", percent(report.changed_token_rate)
    yield "guide words", percent(report.guide_word_rate)
    yield "weak steps", percent(report.weak_share)


def spread_line(spread: Distribution) -> str:
    """ "median 0.71, eight of ten from 0.52 to 0.84"; empty without values."""
    if not spread.deciles:
        return ""
    low, middle, high = (number(value, 2) for value in (spread.deciles[0], spread.median, spread.deciles[-1]))
    return f"median {middle}, eight of ten from {low} to {high}"


def hints(report: JobReport) -> Iterator[str]:
    """Yield advice that follows from the figures, one sentence each."""
    cut = report.finish_reasons.get("length", 0)
    if cut > COMMON_SHARE * report.answered:
        yield f"{_answers(cut)} cut off at the token limit: raise --max-tokens if you want the rest of them."
    if full := report.finish_reasons.get("context"):
        yield (
            f"{_answers(full)} cut off because the context was full: to have them whole, give a larger "
            "--n-ctx and another --output, or --overwrite."
        )
    if long := report.errors.get("too long"):
        rows = f"{long:,} {'row was' if long == 1 else 'rows were'}"
        yield f"{rows} too long for the context: give --retry-failed and a larger --n-ctx."
    if report.looped:
        greedy = (report.settings.get("sampling") or {}).get("temperature") == 0
        what = "sample with --temperature 0.7 --dry-multiplier 0.8" if greedy else "raise --dry-multiplier"
        yield f"{_answers(report.looped)} caught in a loop: {what}. Models are sure of what they repeat."
    if report.empty:
        yield f"{_answers(report.empty)} empty."


def _answers(count: int) -> str:
    return f"{count:,} {'answer was' if count == 1 else 'answers were'}"


# Tables


def ended_table(report: JobReport) -> Table:
    return _counts("Why answers ended", "ended by", "answers", report.finish_reasons)


def failed_table(report: JobReport) -> Table:
    return _counts("Failures", "what failed", "rows", report.errors)


def _counts(title: str, what: str, of: str, counts: Mapping[str, int]) -> Table:
    total = sum(counts.values())
    cells = [(line(name), f"{count:,}", percent(count / total)) for name, count in counts.items() if count]
    return Table(title, (Column(what, right=False), Column(of), Column("share")), unmarked_rows(cells))


# Settings and models


def facts(report: JobReport) -> list[tuple[str, str]]:
    """Return names and values of files, models and settings."""
    settings, models = report.settings, report.models
    files = (("input", report.input), ("output", report.output))
    found = [(name, line(file)) for name, file in files if file]
    found += [(role, _model(models[role])) for role in ("base", "guide") if models.get(role)]
    if blend := settings.get("blend"):
        found.append(("method", setting_label(BlendSettings(**_known(BlendSettings, blend)))))
    if sampling := settings.get("sampling"):
        found.append(("sampling", _sampling(sampling)))
    if settings.get("system"):
        found.append(("system prompt", shorten(settings["system"], 200)))
    for name, key in (("tokens of an answer at most", "max_tokens"), ("seed", "seed")):
        if settings.get(key) is not None:
            found.append((name, f"{settings[key]:,}" if key == "max_tokens" else str(settings[key])))
    if settings.get("stop"):
        found.append(("stop strings", " ".join(map(repr, settings["stop"]))))
    if report.parallel:
        found.append(("answered side by side", f"{report.parallel:,}"))
    for part in ("options", "versions"):
        for name, value in (settings.get(part) or {}).items():
            found.append((line(name).replace("_", "-"), line(value)))
    if report.prompt_tokens:
        tokens = f"{report.tokens:,} written, {report.prompt_tokens:,} of prompts"
        found.append(("tokens of all answers", tokens))
    found.append(("time taken", duration(report.seconds)))
    return found


def _known(cls: type, values: Mapping[str, Any]) -> dict[str, Any]:
    return {field.name: values[field.name] for field in fields(cls) if field.name in values}


def _sampling(sampling: Mapping[str, Any]) -> str:
    """Return the sampling settings that differ from the defaults, which are greedy."""
    plain = SamplingSettings()
    changed = {
        name: value
        for name, value in _known(SamplingSettings, sampling).items()
        if value != getattr(plain, name)
    }
    if "temperature" not in changed:
        changed = {"greedy": ""} | changed
    return ", ".join(f"{name.replace('_', ' ')} {value}".rstrip() for name, value in changed.items())


def _model(model: Mapping[str, Any]) -> str:
    parts = [f"SHA-256 {line(model['sha256'])[:12]}"] if model.get("sha256") else []
    form = model.get("format")
    name = form.get("name") if isinstance(form, Mapping) else form
    if name:
        parts.append(f"prompt format {line(name)}")
    if "calibration" in model:
        parts.append("calibrated" if model["calibration"] else "not calibrated")
    return f"{line(model.get('name') or NOTHING)} ({', '.join(parts)})" if parts else line(model.get("name"))
