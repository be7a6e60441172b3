"""The exceptions of this package.

BlendinError                    root; its message is one sentence for the user, the command line exits with 2
├── SettingError                a setting outside its range, or two that contradict each other
├── ModelError                  a model file that cannot be loaded, or a model that cannot do what is asked
├── PromptError                 a prompt or template that cannot be turned into tokens
│   └── PromptTooLong           a prompt with more tokens than a context holds
├── CatalogueError              a model or pair that is unknown, cannot be pulled, or fails its checksum
├── HistoryError                saved conversations that cannot be read or written
├── InputError                  a file of rows, or one row of it, that cannot be read
├── EvaluationError             examples, tasks, records or arms that cannot be used
└── BatchError                  input, output or workers of offline generation that cannot be used

A message names the fault, its place and the remedy. It is shown unchanged.
"""

from __future__ import annotations


class BlendinError(Exception):
    """Root of all exceptions; the message is one sentence for the user."""


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
    """Saved conversations cannot be read or written."""


class InputError(BlendinError):
    """A file of rows cannot be opened or read, or one of its rows cannot."""


class EvaluationError(BlendinError):
    """Examples, tasks, records or arms of a comparison cannot be used."""


class BatchError(BlendinError):
    """Input, output or workers of offline generation cannot be used."""
