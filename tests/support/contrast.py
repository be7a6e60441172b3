"""Whether colours can be read on the backgrounds of Textual's themes."""

from __future__ import annotations

from collections.abc import Mapping

from textual.color import Color
from textual.theme import BUILTIN_THEMES


def assert_readable(colours: Mapping[str, tuple[str, str]]) -> None:
    """colours: each for dark and for light themes; all must be at least 4.5 : 1, on focused widgets too."""
    for theme in BUILTIN_THEMES.values():
        if theme.ansi:
            continue
        variables = theme.to_color_system().generate()
        plain = Color.parse(variables["background"])
        for background in (plain, plain.blend(Color.parse(variables["foreground"]), 0.04)):
            for name, pair in colours.items():
                contrast = _contrast(Color.parse(pair[0 if theme.dark else 1]), background)
                assert contrast >= 4.5, (theme.name, name, contrast)


def _contrast(one: Color, other: Color) -> float:
    """As WCAG defines it."""

    def luminance(color: Color) -> float:
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in color.normalized]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    bright, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)
