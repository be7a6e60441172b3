"""What is known of a pair before it is loaded: what the app's title and first screen say."""

from __future__ import annotations

from dataclasses import dataclass, field

from blendin_local.engine.trigger import threshold
from blendin_local.methods import METHODS
from blendin_local.presentation.setting_label import setting_label
from blendin_local.settings import BlendSettings


@dataclass(frozen=True, slots=True)
class About:
    """Names as the user knows them, the blend settings, and what loading will take.

    pair: "" for two models that the catalogue does not know as a pair. memory, warning: one sentence each,
    or "".
    """

    base: str
    guide: str
    pair: str = ""
    blend: BlendSettings = field(default_factory=BlendSettings)
    memory: str = ""
    warning: str = ""

    @property
    def models(self) -> str:
        return f"{self.base} + {self.guide}"

    @property
    def method(self) -> str:
        """The method with the numbers that matter to it."""
        return setting_label(self.blend)

    @property
    def roles(self) -> tuple[str, str]:
        """What base and guide do under this method, in a few words."""
        blend = self.blend
        method = METHODS[blend.method]
        if method.writer == "guide":
            return "the base, not used by this method", "the guide, writes alone"
        if method.trigger == "never":
            return "the base, writes alone", "the guide, not used by this method"
        if method.trigger == "always":
            return "the base, writes", "the guide, blended in at every step"
        return "the base, writes", f"the guide, asked where the base is under {threshold(blend):.0%} sure"
