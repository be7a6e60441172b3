"""Format a method and its parameters as a short label and as command-line options."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from blendin_local.engine.trigger import threshold
from blendin_local.methods import METHODS
from blendin_local.presentation.formatting import line, number
from blendin_local.setting_spec import SettingSpec, settings_of
from blendin_local.settings import BlendSettings

__all__ = ["setting_flags", "setting_label"]


class NamedSetting(Protocol):
    """Blend settings, or any object with some of their fields; a parameter may be None or missing."""

    @property
    def method(self) -> str: ...


def setting_label(setting: NamedSetting, *, compact: bool = False) -> str:
    """Return the method with the parameters that it uses: "fixed α 0.30, γ 0.40".

    γ is the threshold in force, with the capability gap. compact: "fixed α=0.3 γ=0.4", for names.
    """
    # A method's own parameters come before the threshold.
    found = sorted(_parameters(setting), key=lambda each: not each[0].methods)
    if compact:
        return " ".join([setting.method, *(f"{spec.symbol}={value:g}" for spec, value in found)])
    shown = [f"{spec.symbol} {number(value, 0 if spec.kind is int else 2)}" for spec, value in found]
    return f"{line(setting.method)} {', '.join(shown)}".rstrip()


def setting_flags(setting: NamedSetting) -> str:
    """Return the options of `chat` and `generate` that select it: "--method blendin --gamma 0.4"."""
    flags = [f"--method {setting.method}"] if setting.method in METHODS else []
    return " ".join([*flags, *(f"{spec.option} {value:.4g}" for spec, value in _parameters(setting))])


def _parameters(setting: NamedSetting) -> Iterator[tuple[SettingSpec, float]]:
    """Yield the parameters that the method uses, with their values, in the order of their declaration."""
    method = METHODS.get(setting.method)
    if method is None:
        return
    for name, spec in settings_of(BlendSettings).items():
        if name in method.parameters or (name == "gamma" and method.trigger == "uncertain"):
            value = getattr(setting, name, None)
            if name == "gamma" and isinstance(setting, BlendSettings):
                value = threshold(setting)
            if value is not None:
                yield spec, value
