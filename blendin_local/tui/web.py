"""Serve the chat to a browser on this machine, with one chat process for each tab."""

from __future__ import annotations

import asyncio
import html
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from textual_serve.server import Server

__all__ = ["ChatServer"]

_HEADERS = {
    # A page around the chat could lead clicks and keys of its visitors into it.
    "Content-Security-Policy": "frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class ChatServer(Server):
    """Serves a command on localhost; `serve()` runs until Ctrl-C. Only its own pages may connect.

    tabs: most chats at once.
    """

    def __init__(self, command: str, port: int, tabs: int = 4) -> None:
        super().__init__(command, host="localhost", port=port, title="blendin")
        self._most_tabs = tabs
        self._tabs: set[asyncio.Task[Any]] = set()

    async def _make_app(self) -> web.Application:
        app = await super()._make_app()
        app.middlewares.append(self._check_host)
        app.on_response_prepare.append(_add_headers)
        return app

    @web.middleware
    async def _check_host(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Refuse other names: a site can point its own name at this machine, and read what it gets."""
        if f"http://{request.host.lower()}" != self.public_url:
            raise web.HTTPMisdirectedRequest(text=f"The chat is served at {self.public_url} only.")
        return await handler(request)

    async def handle_index(self, request: web.Request) -> Any:
        if len(self._tabs) >= self._most_tabs:
            raise web.HTTPServiceUnavailable(text=_page(self._full), content_type="text/html")
        return await super().handle_index(request)

    @property
    def _full(self) -> str:
        return (
            f"{self._most_tabs} chats are open, which is the most that blendin web --tabs allows. Close one, "
            "and load this page again."
        )

    async def handle_websocket(self, request: web.Request) -> web.WebSocketResponse:
        # Browsers let any site open a web socket to localhost, and this one gives access to saved chats.
        if request.headers.get("Origin") != self.public_url:
            raise web.HTTPForbidden(text=f"Only {self.public_url} may open a chat.")
        if len(self._tabs) >= self._most_tabs:
            raise web.HTTPServiceUnavailable(text=self._full)
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


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(_HEADERS)


def _page(text: str) -> str:
    return f"<!DOCTYPE html><title>blendin</title><p>{html.escape(text)}</p>"
