"""Names that tell models and arms apart, no longer than that takes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from blendin_local.llamacpp.header import GgufHeader
from blendin_local.methods import METHODS
from blendin_local.settings import BlendSettings

__all__ = ["name_arms", "name_models", "setting_name"]

_SPLIT = re.compile(r"-\d{5}-of-\d{5}$")


def name_models(models: Mapping[str, tuple[str, GgufHeader]]) -> dict[str, str]:
    """Names by the same keys: the catalogue's where there is one, else the file's.

    Among equal names the quantization tells, then the folder, then a number.
    """
    names = {key: name or _SPLIT.sub("", header.path.stem) for key, (name, header) in models.items()}
    for more in (_with_quantization, _with_folder):
        twice = _repeated(names.values())
        for key, name in names.items():
            if name in twice:
                names[key] = more(name, models[key][1])
    return dict(zip(names, _numbered(list(names.values())), strict=True))


def _with_quantization(name: str, header: GgufHeader) -> str:
    return f"{name} {header.quantization}"


def _with_folder(name: str, header: GgufHeader) -> str:
    return f"{header.path.parent.name}/{header.path.stem}"


def setting_name(blend: BlendSettings) -> str:
    """A method with the number that matters most to it: "blendin γ=0.4"."""
    name = blend.method
    if blend.method == "fixed":
        name += f" α={blend.alpha:g}"
    if blend.method == "tuned":
        name += f" b={blend.prior:g}"
    return name + (f" γ={blend.gamma:g}" if METHODS[blend.method].trigger == "uncertain" else "")


def name_arms(arms: Sequence[tuple[str, str, BlendSettings | None, Mapping[str, Any]]]) -> list[str]:
    """Names for (name given or "", subject, blend of a pair, all settings that count).

    Where two would be called alike, the settings in which they differ are added, then a number.
    """
    names = [
        given or (f"{subject} {setting_name(blend)}" if blend else subject)
        for given, subject, blend, _ in arms
    ]
    for name in _repeated(names):
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
    return _numbered(names)


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _repeated(names: Any) -> list[str]:
    return [name for name, count in Counter(names).items() if count > 1]


def _numbered(names: list[str]) -> list[str]:
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
