"""Bindings for the keys 1 to 9."""

from __future__ import annotations

from textual.binding import Binding


def number_keys(action: str, help: str, id: str, *, priority: bool = False) -> list[Binding]:
    """Return a binding for each of the keys 1 to 9, which calls the action with its number."""
    return [
        Binding(str(n), f"{action}({n})", f"{help} {n}", show=False, id=f"{id}_{n}", priority=priority)
        for n in range(1, 10)
    ]
