"""The widgets of the chat, one in each module but for the sections of the panel."""
