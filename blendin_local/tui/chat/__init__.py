"""The parts of the chat's main screen, each an object of its own; `tui.screens.chat` composes them."""
