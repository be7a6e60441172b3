"""Render chat templates, which are programs from strangers, in a process of their own."""
