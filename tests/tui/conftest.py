"""Tests of the chat drive apps by a pilot that waits for keys to be handled, not for time to pass."""

from support.chat_fakes import prompt_pilot

__all__ = ["prompt_pilot"]
