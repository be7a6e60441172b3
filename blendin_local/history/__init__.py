"""Conversations that are kept: the tree of their messages, the database, and files made of them."""
