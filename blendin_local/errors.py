"""Every error this package raises on purpose.

BlendinError                    one sentence for the user; command lines exit with code 2
├── SettingError                a setting outside its range, or two that contradict each other
├── ModelError                  a model file that cannot be loaded, or a model that cannot do what is asked
├── PromptError                 a prompt or template that cannot be turned into tokens
│   └── PromptTooLong           a prompt that is, and does not fit a context
├── CatalogueError              a model or pair that is unknown, cannot be pulled, or fails its checksum
├── HistoryError                kept conversations that cannot be read or written
├── EvaluationError             references, tasks, records or arms that cannot be read or used
└── BatchError                  input, output or workers of offline generation that cannot be used

Messages say what is wrong, where, and what to do about it. They are shown as they are.
"""

from __future__ import annotations


class BlendinError(Exception):
    """Root of the tree: its text is one sentence meant for the user."""


class SettingError(BlendinError):
    """A setting is outside its range or contradicts another."""


class ModelError(BlendinError):
    """A model file cannot be loaded, or the model cannot do what is asked of it."""


class PromptError(BlendinError):
    """A prompt or a chat template cannot be turned into tokens, or does not fit the context."""


class PromptTooLong(PromptError):
    """A prompt has more tokens than a context holds."""


class CatalogueError(BlendinError):
    """A model or pair is unknown, cannot be pulled, or is not what its checksum says."""


class HistoryError(BlendinError):
    """Kept conversations cannot be read or written."""


class EvaluationError(BlendinError):
    """References, tasks, records or arms of a comparison cannot be read or used."""


class BatchError(BlendinError):
    """Input, output or workers of offline generation cannot be used."""
