"""Describe a reply and its settings in one line each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from blendin_local.engine.steps import FinishReason, Summary
from blendin_local.history.tree import Setup, Turn
from blendin_local.presentation.setting_label import setting_label
from blendin_local.settings import BlendSettings, GenerationSettings, setting_names

__all__ = ["describe_differences", "describe_settings", "describe_thinking", "reply_footer"]

_ENDS: dict[FinishReason, str] = {
    "cancelled": "stopped",
    "length": "cut off at the token limit",
    "context": "cut off: the context is full",
}


def reply_footer(turn: Turn, siblings: Sequence[Turn] = ()) -> str:
    """Return the line under a finished reply: its finish reason, metrics and settings."""
    summary = turn.summary.answer or turn.summary
    parts = [f"{siblings.index(turn) + 1}/{len(siblings)}"] if len(siblings) > 1 else []
    if turn.error:
        parts.append("failed")
    elif turn.finish_reason in _ENDS:
        parts.append(_ENDS[turn.finish_reason])
    parts.append("1 token" if summary.tokens == 1 else f"{summary.tokens} tokens")
    if speed := turn.summary.tokens_per_second:
        parts.append(f"{speed:.0f}/s")
    parts += [
        f"intervened {summary.intervention_rate:.0%}",
        f"changed {summary.changed_rate:.0%}",
        f"guide words {summary.guide_word_rate:.0%}",
    ]
    if turn.dropped:
        parts.append(f"{turn.dropped} old {'message' if turn.dropped == 1 else 'messages'} left out")
    if turn.setup:
        temperature = turn.setup.settings.sampling.temperature
        parts.append(setting_label(turn.setup.settings.blend))
        parts.append(f"temperature {temperature:g}" if temperature else "greedy")
        parts += ["system prompt"] if turn.setup.system.strip() else []
    return " · ".join(parts)


def describe_thinking(turn: Turn) -> str:
    """Return how long the thinking before a reply is, and how reliable."""
    summary = turn.summary.thinking or Summary()
    parts = ["thinking", "1 token" if summary.tokens == 1 else f"{summary.tokens} tokens"]
    if (reliability := summary.mean("reliability")) is not None:
        parts.append(f"{'reliability' if turn.calibrated else 'confidence'} {reliability:.2f}")
    return " · ".join([*parts, f"intervened {summary.intervention_rate:.0%}"])


def describe_settings(settings: GenerationSettings, usual: GenerationSettings | None = None) -> str:
    """List method, γ and all settings other than defaults; with `usual`, all that differ from it."""
    blend = settings.blend
    parts = [] if usual else [blend.method, f"gamma {blend.gamma:g}"]
    usual = usual or GenerationSettings(BlendSettings(method=blend.method, gamma=blend.gamma))
    for own, other in ((blend, usual.blend), (settings.sampling, usual.sampling), (settings, usual)):
        for name in setting_names(type(own)):
            value = getattr(own, name)
            if name not in ("blend", "sampling") and value != getattr(other, name):
                parts.append(f"{name.replace('_', ' ')} {_value(value)}")
    return ", ".join(parts)


def describe_differences(own: Setup, usual: Setup) -> str:
    """List the differences of a reply's setup from the conversation's, except for seeds."""
    settings = replace(own.settings, seed=usual.settings.seed)
    parts = [f"{own.base} + {own.guide}"] if (own.base, own.guide) != (usual.base, usual.guide) else []
    if own.system != usual.system:
        parts.append("another system prompt" if own.system else "no system prompt")
    if settings != usual.settings:
        parts.append(describe_settings(settings, usual.settings))
    if (own.formats.base, own.formats.guide) != (usual.formats.base, usual.formats.guide):
        parts.append(f"the prompt formats {own.formats.base} and {own.formats.guide}")
    elif own.formats != usual.formats:
        parts.append("other template variables")
    return "; ".join(parts)


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return f"{value:g}"
    return ", ".join(map(repr, value)) if isinstance(value, tuple) else str(value)
