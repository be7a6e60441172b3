"""Let the pilot of the chat's tests wait until its keys are handled."""

from support.chat_fakes import prompt_pilot

__all__ = ["prompt_pilot"]
