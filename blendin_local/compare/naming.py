"""Generate short names that distinguish models and arms."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from blendin_local.llamacpp.header import GgufHeader
from blendin_local.presentation.setting_label import setting_label
from blendin_local.settings import BlendSettings

__all__ = ["name_arms", "name_models"]

_SPLIT = re.compile(r"-\d{5}-of-\d{5}$")


def name_models(models: Mapping[str, tuple[str, GgufHeader]]) -> dict[str, str]:
    """Return names by the same keys: the catalogue's name where there is one, else the file's.

    Equal names are made different by the quantization, then the folder, then a number.
    """
    names = {key: name or _SPLIT.sub("", header.path.stem) for key, (name, header) in models.items()}
    for more in (_with_quantization, _with_folder):
        twice = _find_repeated(names.values())
        for key, name in names.items():
            if name in twice:
                names[key] = more(name, models[key][1])
    return dict(zip(names, _add_numbers(list(names.values())), strict=True))


def _with_quantization(name: str, header: GgufHeader) -> str:
    return f"{name} {header.quantization}"


def _with_folder(name: str, header: GgufHeader) -> str:
    return f"{header.path.parent.name}/{header.path.stem}"


def name_arms(arms: Sequence[tuple[str, str, BlendSettings | None, Mapping[str, Any]]]) -> list[str]:
    """Return names for arms, each (given name or "", subject, blend of a pair, effective settings).

    Equal names get the settings in which the arms differ, then a number.
    """
    names = [
        given or (f"{subject} {setting_label(blend, compact=True)}" if blend else subject)
        for given, subject, blend, _ in arms
    ]
    for name in _find_repeated(names):
        alike = [place for place, each in enumerate(names) if each == name]
        listed = [arms[place][3] for place in alike]
        differing = [
            key
            for key in {key: None for each in listed for key in each}
            if len({repr(each.get(key)) for each in listed}) > 1
        ]
        for place in alike:
            added = [f"{key}={_short(arms[place][3].get(key))}" for key in differing]
            names[place] = " ".join([name, *added])
    return _add_numbers(names)


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _find_repeated(names: Any) -> list[str]:
    return [name for name, count in Counter(names).items() if count > 1]


def _add_numbers(names: list[str]) -> list[str]:
    taken: set[str] = set()
    found = []
    for name in names:
        unique, number = name, 1
        while unique in taken:
            number += 1
            unique = f"{name} ({number})"
        taken.add(unique)
        found.append(unique)
    return found
