"""Find in a chat template how its model marks thinking in what it writes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

__all__ = ["SWITCHES", "ThinkingMarks", "is_mark_token", "switches_of", "thinking_marks"]

SWITCHES = ("enable_thinking", "thinking", "think", "enable_reasoning", "reasoning")
"""Template variables that turn thinking on and off."""


@dataclass(frozen=True, slots=True)
class ThinkingMarks:
    """The marks around the thinking of a reply.

    skip: heads of an answer, which are not part of its text. nothing: a finished thinking without content,
    after which a model answers at once. end: the text that ends a thinking which became too long.
    """

    open: str
    close: str
    nothing: str
    end: str
    skip: tuple[str, ...] = ()

    @property
    def head(self) -> str:
        """The text with which a reply begins to think."""
        return self.open.rstrip() + "\n" if "\n" in self.nothing else self.open

    def left_open_by(self, prompt: str) -> bool:
        """Return whether a prompt ends inside the thinking of the reply to come."""
        return prompt.rstrip().endswith(self.open.rstrip())

    def left_closed_by(self, prompt: str) -> bool:
        """Return whether a prompt ends with a finished thinking."""
        return prompt.rstrip().endswith((self.close.rstrip(), self.nothing.rstrip()))


# gpt-oss: each part of a message names its channel.
_FINAL = "<|channel|>final<|message|>"
_ANALYSIS = ThinkingMarks(
    "<|channel|>analysis<|message|>",
    f"<|end|><|start|>assistant{_FINAL}",
    nothing=_FINAL,
    end=f"<|end|><|start|>assistant{_FINAL}",
    skip=(_FINAL,),
)
# Gemma 4: a channel is opened by name, and closed.
_THOUGHT = ThinkingMarks(
    "<|channel>thought\n", "<channel|>", nothing="<|channel>thought\n<channel|>", end="<channel|>"
)
_CLOSING = re.compile(
    r"(?P<start></)(?P<name>[a-z_:-]*(?:think|thought|reason)[a-z_:-]*)>|\[/(?P<square>[A-Z_]*THINK[A-Z_]*)\]"
    r"|<\|END_(?P<upper>[A-Z_]*(?:THINK|THOUGHT|REASON)[A-Z_]*)\|>"
)
_MARK_TOKEN = re.compile(
    rf"{_CLOSING.pattern}|<[a-z_:-]*(?:think|thought|reason)[a-z_:-]*>|\[[A-Z_]*THINK[A-Z_]*\]"
    r"|<\|START_[A-Z_]*(?:THINK|THOUGHT|REASON)[A-Z_]*\|>|<\|channel>|<channel\|>"
    r"|<\|(?:channel|message|start|end)\|>"
)


@lru_cache(maxsize=64)
def thinking_marks(template: str) -> ThinkingMarks | None:
    """Return the marks that a template knows, as it writes or strips them; None for a model without them."""
    if "<|channel|>" in template and "analysis" in template and "<|message|>" in template:
        return _ANALYSIS
    if "<|channel>" in template and "<channel|>" in template:
        return _THOUGHT
    closing = _CLOSING.search(template)
    if closing is None:
        return None
    close = closing[0]
    if closing["square"] or closing["upper"]:
        open_ = f"[{closing['square']}]" if closing["square"] else close.replace("END_", "START_")
        return ThinkingMarks(open_, close, nothing=open_ + close, end=close)
    open_ = f"<{closing['name']}>"
    return ThinkingMarks(open_, close, nothing=f"{open_}\n\n{close}\n\n", end=f"\n{close}\n\n")


def switches_of(template: str) -> tuple[str, ...]:
    """Return the variables with which a template turns thinking on and off."""
    code = " ".join(re.findall(r"\{[%{].*?[%}]\}", template, re.DOTALL))
    # Neither a part of another name, nor a key of a message, nor a text.
    return tuple(name for name in SWITCHES if re.search(rf"(?<![\w.'\"]){name}(?![\w'\"(=])", code))


def is_mark_token(text: str) -> bool:
    """Return whether a token's text is, or belongs to, a mark of thinking."""
    return _MARK_TOKEN.fullmatch(text) is not None
