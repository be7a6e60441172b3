"""`blendin web`: a chat for each tab of a browser, and for no other site."""

from __future__ import annotations

import shlex

import pytest
from click.testing import CliRunner

from blendin_local.cli.web import web

pytest.importorskip("textual_serve")


def test_options_of_the_chat_are_checked_before_anything_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    from blendin_local.tui import web as served

    started: list[tuple[str, int]] = []

    class Fake:
        def __init__(self, command: str, port: int) -> None:
            started.append((command, port))

        def serve(self) -> None:
            pass

    monkeypatch.setattr(served, "ChatServer", Fake)
    for wrong in (["--gamma", "x"], ["--nonsense"], ["--port", "0"]):
        assert CliRunner().invoke(web, wrong).exit_code == 2
    assert not started
    assert CliRunner().invoke(web, ["--system", "a b", "--port", "81", "-g", "0.1"]).exit_code == 0
    [(command, port)] = started
    assert shlex.split(command)[1:] == ["-m", "blendin_local", "chat", "--system", "a b", "-g", "0.1"]
    assert port == 81


async def test_only_our_own_page_may_open_a_chat(monkeypatch: pytest.MonkeyPatch) -> None:
    from aiohttp import web as answers
    from aiohttp.test_utils import TestClient, TestServer
    from textual_serve.server import Server

    from blendin_local.tui.web import ChatServer

    async def opened(self: Server, request: answers.Request) -> answers.Response:
        return answers.Response(text="a chat")

    monkeypatch.setattr(Server, "handle_websocket", opened)
    server = ChatServer("true", 8000)
    async with TestClient(TestServer(await server._make_app())) as client:
        for origin in ({}, {"Origin": "http://evil.example"}, {"Origin": "null"}):
            assert (await client.get("/ws", headers=origin)).status == 403
        ours = await client.get("/ws", headers={"Origin": "http://localhost:8000"})
        assert (ours.status, await ours.text()) == (200, "a chat")
        assert "ws://localhost:8000/ws" in await (await client.get("/")).text()
