"""`blendin web`: a chat for each tab of a browser, and for no other site."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner
from support.tiny_gguf import never_ending, write_tiny

from blendin_local.cli import main
from blendin_local.cli.web import web

pytestmark = pytest.mark.slow

pytest.importorskip("textual_serve")


@pytest.fixture
def pair(tmp_path: Path) -> list[str]:
    base = write_tiny(tmp_path / "base.gguf", bias=never_ending())
    guide = write_tiny(tmp_path / "guide.gguf", vocabulary="bpe", bias=never_ending("bpe"))
    return ["--base", str(base), "--guide", str(guide)]


def test_what_is_wrong_is_said_before_anything_is_served(
    monkeypatch: pytest.MonkeyPatch, pair: list[str], tmp_path: Path
) -> None:
    from blendin_local.tui import web as served

    started: list[tuple[str, int, int]] = []
    monkeypatch.setenv("BLENDIN_FOLDER", "")

    class Fake:
        def __init__(self, command: str, port: int, tabs: int) -> None:
            started.append((command, port, tabs))

        def serve(self) -> None:
            pass

    monkeypatch.setattr(served, "ChatServer", Fake)
    for wrong, reason in (
        (["--gamma", "x"], "is not a valid float"),
        ([*pair, "--gamma", "2"], "--gamma must be between 0 and 1"),
        (["--nonsense"], "No such option"),
        (["--port", "0"], "--port"),
        (["--pair", "nope"], "no pair called nope"),
        ([*pair, "--resume"], "No conversation to resume"),
    ):
        result = CliRunner().invoke(main, ["web", *wrong])
        assert (result.exit_code, reason in result.stderr) == (2, True), result.stderr
    (tmp_path / "data" / "conversations.db").write_bytes(b"no database" * 99)
    assert "is damaged" in CliRunner().invoke(main, ["web", *pair]).stderr
    assert not started
    options = [*pair, "--system", "a b", "-g", "0.1", "--no-keep"]
    assert CliRunner().invoke(web, ["--port", "81", *options]).exit_code == 0
    [(command, port, tabs)] = started
    assert shlex.split(command)[1:] == ["-m", "blendin_local", "chat", *options]
    assert (port, tabs) == (81, 4)
    assert os.environ["BLENDIN_FOLDER"] == str(Path.cwd())


async def test_only_our_own_page_may_open_a_chat(monkeypatch: pytest.MonkeyPatch) -> None:
    from aiohttp import web as answers
    from aiohttp.test_utils import TestClient, TestServer
    from textual_serve.server import Server

    from blendin_local.tui.web import ChatServer

    async def opened(self: Server, request: answers.Request) -> answers.Response:
        return answers.Response(text="a chat")

    monkeypatch.setattr(Server, "handle_websocket", opened)
    server = ChatServer("true", 8000)
    own = {"Host": "localhost:8000"}
    async with TestClient(TestServer(await server._make_app()), headers=own) as client:
        for origin in ({}, {"Origin": "http://evil.example"}, {"Origin": "null"}):
            assert (await client.get("/ws", headers=origin)).status == 403
        ours = await client.get("/ws", headers={"Origin": "http://localhost:8000"})
        assert (ours.status, await ours.text()) == (200, "a chat")
        page = await client.get("/")
        assert "ws://localhost:8000/ws" in await page.text()
        assert page.headers["Content-Security-Policy"] == "frame-ancestors 'none'"
        assert page.headers["X-Frame-Options"] == "DENY"
        names = (
            "evil.example",
            "evil.example:8000",
            "127.0.0.1:8000",
            "localhost",
            "localhost:81",
            "localhost.:8000",
        )
        for name in names:
            for path in ("/", "/static/css/xterm.css", "/download/x", "/ws"):
                refused = await client.get(path, headers={"Host": name, "Origin": "http://localhost:8000"})
                assert refused.status == 421, (name, path)
                assert refused.headers["X-Frame-Options"] == "DENY"


async def test_more_tabs_than_allowed_are_refused_with_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    from aiohttp import web as answers
    from aiohttp.test_utils import TestClient, TestServer
    from textual_serve.server import Server

    from blendin_local.tui.web import ChatServer

    closing = asyncio.Event()

    async def opened(self: Server, request: answers.Request) -> answers.Response:
        await closing.wait()
        return answers.Response(text="a chat")

    monkeypatch.setattr(Server, "handle_websocket", opened)
    server = ChatServer("true", 8000, tabs=2)
    headers = {"Host": "localhost:8000", "Origin": "http://localhost:8000"}
    async with TestClient(TestServer(await server._make_app()), headers=headers) as client:
        tabs = [asyncio.create_task(client.get("/ws")) for _ in range(2)]
        while len(server._tabs) < 2:
            await asyncio.sleep(0.01)
        for path in ("/", "/ws"):
            refused = await client.get(path)
            assert refused.status == 503 and "2 chats are open" in await refused.text()
        closing.set()
        assert [(await tab).status for tab in tabs] == [200, 200]
        assert (await client.get("/")).status == 200


# A real server


@pytest.fixture
def server(pair: list[str]) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A server that serves tiny models, and its address."""
    with socket.create_server(("localhost", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "blendin_local", "web", "--port", str(port), *pair]
    fixed = ["-n", "8", "--threads", "1", "--no-guide-stop"]
    with subprocess.Popen([*command, *fixed], stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT) as process:
        yield process, f"http://localhost:{port}"
        process.kill()


def chats_of(server: subprocess.Popen[bytes]) -> list[psutil.Process]:
    return psutil.Process(server.pid).children(recursive=True)


async def test_tabs_are_chats_that_end_with_them_and_with_the_server(
    server: tuple[subprocess.Popen[bytes], str],
) -> None:
    import pyte
    from aiohttp import ClientError, ClientSession, ClientWebSocketResponse

    process, address = server

    class Tab:
        def __init__(self, socket: ClientWebSocketResponse) -> None:
            self.socket = socket
            self._screen = pyte.Screen(80, 24)
            self._stream = pyte.ByteStream(self._screen)

        async def wait(self, text: str) -> None:
            while text not in "\n".join(self._screen.display):
                self._stream.feed(await asyncio.wait_for(self.socket.receive_bytes(), 60))

        async def send(self, keys: str) -> None:
            await self.socket.send_json(["stdin", keys])

    async with ClientSession() as browser:

        async def opened() -> Tab:
            url, origin = f"{address}/ws?width=80&height=24", {"Origin": address}
            return Tab(await browser.ws_connect(url, headers=origin))

        while True:
            try:
                await browser.get(address)
                break
            except ClientError:
                assert process.poll() is None
                await asyncio.sleep(0.02)
        first = await opened()
        await first.wait("● Ready")
        await first.send("hello world")
        await first.send("\r")
        await first.wait("cut off at the token limit")
        of_the_first = chats_of(process)
        second = await opened()
        await second.wait("● Ready")

        await first.socket.close()
        _, left = await asyncio.to_thread(psutil.wait_procs, of_the_first, 60)
        assert of_the_first and not left
        await second.send("still here")
        await second.wait("still here")
        of_the_second = chats_of(process)

        process.send_signal(signal.SIGINT)
        async for _ in second.socket:
            pass
        _, left = await asyncio.to_thread(psutil.wait_procs, of_the_second, 60)
        assert of_the_second and not left
        assert await asyncio.to_thread(process.wait, 60) == 0
