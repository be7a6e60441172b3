"""The chat in a terminal, built with Textual. `blendin_local.tui.app.make_app` makes it.

Modules directly in this package, other than `app`, know no Textual: the thread that owns the models, the
conversation as the app drives it, text made sanitize, wrapping, and the figures of a reply.
"""
