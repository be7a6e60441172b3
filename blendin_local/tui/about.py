"""Describe a pair before it is loaded, for the title bar, the welcome text and the loading bar."""

from __future__ import annotations

from dataclasses import dataclass, field

from blendin_local.engine.trigger import threshold
from blendin_local.methods import METHODS
from blendin_local.presentation.setting_label import setting_label
from blendin_local.settings import BlendSettings


@dataclass(frozen=True, slots=True)
class About:
    """Display names of a pair, its blend settings, and the memory that loading it needs.

    pair: its catalogue name, "" for two models that are no pair of the catalogue. memory: one sentence with
    the estimate. warning: one sentence if the estimate exceeds the free memory, else "". note: one sentence
    if a model does not think because the other one cannot, else "".
    """

    base: str
    guide: str
    pair: str = ""
    blend: BlendSettings = field(default_factory=BlendSettings)
    memory: str = ""
    warning: str = ""
    note: str = ""

    @property
    def models(self) -> str:
        return f"{self.base} + {self.guide}"

    @property
    def method(self) -> str:
        """The method and the parameters that it uses."""
        return setting_label(self.blend)

    @property
    def roles(self) -> tuple[str, str]:
        """The roles of base and guide under this method, in a few words each."""
        blend = self.blend
        method = METHODS[blend.method]
        if method.writer == "guide":
            return "the base, not used by this method", "the guide, writes alone"
        if method.trigger == "never":
            return "the base, writes alone", "the guide, not used by this method"
        if method.trigger == "always":
            return "the base, writes", "the guide, blended in at every step"
        return "the base, writes", f"the guide, asked where the base is under {threshold(blend):.0%} sure"
