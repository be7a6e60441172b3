"""Determine the family of a model, such as "gemma" for Gemma 2 and 3."""

from __future__ import annotations

import re

from blendin_local.llamacpp.header import GgufHeader

__all__ = ["family_of"]

_FAMILIES = (
    "smollm",
    "llama",
    "gemma",
    "qwen",
    "mistral",
    "phi",
    "granite",
    "olmo",
    "falcon",
    "exaone",
    "glm",
)
_MAKERS = ("meta", "google", "microsoft", "mistralai", "ibm", "unsloth", "the", "nous", "nousresearch")
"""Makers of many models: the family is the word after their name."""

_SHARED_ARCHITECTURES = ("", "llama")
"""Architectures that many families share."""


def family_of(header: GgufHeader, name: str = "") -> str:
    """Return the family: the leading letters of the architecture, unless families share the architecture.

    Then it is a known family in `name` or in the header's name, else the first word of the header's name
    that is not a maker's.
    """
    if header.architecture not in _SHARED_ARCHITECTURES:
        letters = re.match(r"[A-Za-z]+", header.architecture)
        return letters[0].lower() if letters else header.architecture
    names = (name.lower(), header.label.lower())
    known = [family for each in names for family in _FAMILIES if family in each]
    words = [word for word in re.findall(r"[a-z]+", header.label.lower()) if word not in _MAKERS]
    return next(iter([*known, *words]), header.architecture)
