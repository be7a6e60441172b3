"""The report of a job of offline generation; `to_dict` returns the document of `--json`.

Field names are the document's keys. A figure that is undefined is None.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from blendin_local.presentation.plain_data import to_plain

__all__ = ["Bins", "Distribution", "FlaggedRow", "JobReport", "Reliability"]


@dataclass(frozen=True, slots=True)
class Bins:
    """A histogram: n counts between n + 1 edges."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Distribution:
    """Distribution over answers of a value from 0 to 1. deciles: nine, or none without answers."""

    lowest: float | None
    highest: float | None
    median: float | None
    deciles: tuple[float, ...]
    histogram: Bins


@dataclass(frozen=True, slots=True)
class Reliability(Distribution):
    """The distribution of mean reliabilities of answers. mean: over all steps."""

    mean: float | None


@dataclass(frozen=True, slots=True)
class FlaggedRow:
    """A row for manual review. reasons: names of kinds. why: a description of each reason with figures."""

    id: str
    index: int
    reasons: tuple[str, ...]
    why: tuple[str, ...]
    finish_reason: str | None
    tokens: int
    intervention_rate: float | None
    mean_reliability: float | None
    weak_share: float | None
    text: str
    error: Mapping[str, Any] | None

    @property
    def message(self) -> str:
        """The error's message; empty for an answered row."""
        return str((self.error or {}).get("message") or "")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobReport:
    """The figures of a job.

    rows: answered and failed rows, of which `kept` are from an earlier run. left: rows of the input without a
    result. settings, models: as in `run_manifest.RunManifest`. new_tokens: tokens of the rows answered in
    this run; tokens_per_second is based on them. Rates are over all steps.
    """

    rows: int
    answered: int
    failed: int
    kept: int
    left: int | None = 0
    interrupted: bool = False
    input: str | None = None
    output: str | None = None
    parallel: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    models: Mapping[str, Any] = field(default_factory=dict)
    tokens: int
    new_tokens: int
    prompt_tokens: int
    tokens_per_second: float | None
    seconds: float
    intervention_rate: float | None
    changed_token_rate: float | None
    guide_word_rate: float | None
    weak_share: float | None
    finish_reasons: Mapping[str, int]
    errors: Mapping[str, int]
    looped: int
    empty: int
    calibrated: bool | None
    reliability: Reliability
    intervention_rates: Distribution
    worth_a_look: tuple[FlaggedRow, ...]

    def to_dict(self) -> dict[str, Any]:
        """The document that `blendin generate --json` prints of a job."""
        document: dict[str, Any] = to_plain(self)
        return document
