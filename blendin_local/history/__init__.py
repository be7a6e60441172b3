"""Saved conversations: the tree of messages, the database, exports and imports."""
