"""The screens of the chat, one in each module."""
