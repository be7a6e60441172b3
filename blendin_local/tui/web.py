"""Serve the chat to a browser on this machine, with one chat process for each tab."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web
from textual_serve.server import Server

__all__ = ["ChatServer"]


class ChatServer(Server):
    """Serves a command on localhost; `serve()` runs until Ctrl-C. Only its own pages may connect."""

    def __init__(self, command: str, port: int) -> None:
        super().__init__(command, host="localhost", port=port, title="blendin")
        self._tabs: set[asyncio.Task[Any]] = set()

    async def handle_websocket(self, request: web.Request) -> web.WebSocketResponse:
        # Browsers let any site open a web socket to localhost, and this one gives access to saved chats.
        if request.headers.get("Origin") != self.public_url:
            raise web.HTTPForbidden(text=f"Only {self.public_url} may open a chat.")
        tab = asyncio.current_task()
        assert tab is not None
        self._tabs.add(tab)
        try:
            return await super().handle_websocket(request)
        finally:
            self._tabs.discard(tab)

    async def on_shutdown(self, app: web.Application) -> None:
        # Otherwise the server waits a minute for its tabs to close.
        for tab in self._tabs:
            tab.cancel()
