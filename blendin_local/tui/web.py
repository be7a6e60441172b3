"""The chat in a browser: a server that starts a chat for each tab, for pages of its own only."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web
from textual_serve.server import Server

__all__ = ["ChatServer"]


class ChatServer(Server):
    """Serves a command on this machine's own address; `serve()` runs until Ctrl-C."""

    def __init__(self, command: str, port: int) -> None:
        super().__init__(command, host="localhost", port=port, title="blendin")
        self._tabs: set[asyncio.Task[Any]] = set()

    async def handle_websocket(self, request: web.Request) -> web.WebSocketResponse:
        # Browsers let every site open a socket to this machine, and this one leads to a chat and its history.
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
        # The server would wait a minute for its tabs, and they for somebody to close them.
        for tab in self._tabs:
            tab.cancel()
