"""The widgets of the chat, one in each module."""
