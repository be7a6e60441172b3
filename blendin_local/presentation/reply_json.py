"""Convert replies and steps to plain data for JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from blendin_local.engine.steps import Candidate, Step, Summary

if TYPE_CHECKING:
    from blendin_local.engine.conversation import Reply
    from blendin_local.llamacpp.header import GgufHeader
    from blendin_local.settings import GenerationSettings


def reply_as_dict(
    reply: Reply,
    models: Mapping[str, GgufHeader],
    settings: GenerationSettings,
    *,
    calibrated: bool,
    steps: Sequence[Step] | None = None,
) -> dict[str, Any]:
    """Return the JSON document of a finished reply. steps: steps to include.

    models: the headers of "base" and "guide". calibrated: whether the pair is calibrated.
    """
    document: dict[str, Any] = {
        "text": reply.text,
        **({"reasoning": reply.reasoning} if reply.summary.thinking else {}),
        "finish_reason": reply.finish_reason,
        "settings": settings.to_dict(thinks=reply.summary.thinking is not None),
        "models": {
            role: {
                "name": header.label,
                "path": str(header.path),
                "architecture": header.architecture,
                "quantization": header.quantization,
                "vocabulary": header.fingerprint,
            }
            for role, header in models.items()
        },
        **figures_as_dict(reply.prompt_tokens, reply.summary, calibrated),
    }
    if steps is not None:
        document["steps"] = [step_as_dict(step) for step in steps]
    return document


def figures_as_dict(prompt_tokens: Mapping[str, int], summary: Summary, calibrated: bool) -> dict[str, Any]:
    """Return the figures of a finished reply: token counts, summary, timings, speed."""
    written = {"base": summary.base_tokens, "guide": summary.guide_tokens}
    decoded = {"base": summary.base_decoded, "guide": summary.guide_decoded}
    figures = summary.as_dict() | {"calibrated": calibrated}
    if summary.thinking is not None and summary.answer is not None:
        figures |= {"thinking": summary.thinking.as_dict(), "answer": summary.answer.as_dict()}
    return {
        "usage": {
            role: {
                "prompt_tokens": prompt_tokens.get(role, 0),
                "generated_tokens": written[role],
                "decoded_tokens": decoded[role],
            }
            for role in ("base", "guide")
        },
        "summary": figures,
        "timings": asdict(summary.timings),
        "tokens_per_second": summary.tokens_per_second,
    }


def step_as_dict(step: Step) -> dict[str, Any]:
    """Return a step as plain data, its bytes decoded with U+FFFD for incomplete characters."""
    record = asdict(step)
    record["data"] = step.data.decode("utf-8", "replace")
    record["source"] = str(step.source)
    record["reliability"] = step.reliability
    if not step.thinking:
        del record["thinking"]
    if step.candidates is None:
        del record["candidates"]
    else:
        for role in ("base", "guide", "blend"):
            listed: tuple[Candidate, ...] = getattr(step.candidates, role)
            record["candidates"][role] = [
                {"text": candidate.data.decode("utf-8", "replace"), "probability": candidate.probability}
                for candidate in listed
            ]
    return record
