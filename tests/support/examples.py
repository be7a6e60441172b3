"""How many examples the property tests try: some in `make test`, more in `make test-nightly`."""

from __future__ import annotations

import os
from typing import Any

from hypothesis import settings

_PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "patient")
_SHARES = {"quick": 0.1, "patient": 0.3, "nightly": 1.0}
_MOST = 100
_FEWEST = 5


def register_profiles() -> None:
    """Register the profiles, and load the one that HYPOTHESIS_PROFILE names."""
    for name, share in _SHARES.items():
        # Machines that run the tests are shared: no test may fail for being slow.
        settings.register_profile(name, deadline=None, max_examples=_share(_MOST, share))
    settings.load_profile(_PROFILE)


def examples(nightly: int, *, by_day: int | None = None, **options: Any) -> settings:
    """Settings of a property test that tries so many examples at night, and `by_day` or a share otherwise."""
    fewer = by_day is not None and _PROFILE != "nightly"
    return settings(max_examples=by_day if fewer else _share(nightly, _SHARES[_PROFILE]), **options)


def _share(nightly: int, share: float) -> int:
    return min(nightly, max(_FEWEST, round(nightly * share)))
