"""Which cases of a costly test `make test` runs; `make test-nightly` runs all the others."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def some_of(by_day: Iterable[Any], every: Iterable[Any]) -> list[Any]:
    """Parameters of a test: those of `by_day`, and the rest of `every` as nightly ones. Tuples are spread."""
    chosen = list(by_day)
    rest = [case for case in every if case not in chosen]
    return [*chosen, *(_nightly(case) for case in rest)]


def first_of(every: Iterable[Any]) -> list[Any]:
    """Parameters of a test, of which all but the first are nightly ones."""
    cases = list(every)
    return some_of(cases[:1], cases)


def _nightly(case: Any) -> Any:
    values = case if isinstance(case, tuple) else (case,)
    return pytest.param(*values, marks=pytest.mark.nightly)
