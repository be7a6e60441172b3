"""Measures the chat against its goals with the demo pair: `python docs/measure_chat.py`. A few minutes.

Ratios and differences are taken within one run, because machines drift. Nothing else should run meanwhile:
llama.cpp's threads spin, and one busy core halves every figure.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from textual import events
from textual.pilot import Pilot

from blendin_local.history.store import Store
from blendin_local.history.tree import Setup, Turn, new_id
from blendin_local.models.catalogue import load_catalogue
from blendin_local.settings import DEFAULT_PAIR, GenerationSettings, ModelOptions
from blendin_local.tui.app import ChatApp
from blendin_local.tui.chat.session import ChatSession
from blendin_local.tui.loading import Preparer
from blendin_local.tui.phase import Phase
from blendin_local.tui.screens.chat import ChatScreen

ROUNDS = 5
TOKENS = 200
SEED = 11
SIZE = (120, 40)
PROMPT = "Write a long story about a lighthouse keeper."
OPTIONS = ModelOptions(n_ctx=2048)


async def until(pilot: Pilot[None], true: Callable[[], bool]) -> None:
    while not true():
        await pilot.pause(0.02)


def settings() -> GenerationSettings:
    entry = load_catalogue().pair(DEFAULT_PAIR)
    return GenerationSettings(entry.blend, entry.sampling, max_tokens=TOKENS, seed=SEED)


def new_app(store: Store | None = None) -> ChatApp:
    preparer = Preparer(OPTIONS, lambda entry: settings())
    return ChatApp(ChatSession(preparer(DEFAULT_PAIR), preparer, store=store, seed=SEED))


def screen_of(app: ChatApp) -> ChatScreen:
    assert isinstance(app.screen, ChatScreen)
    return app.screen


# First paint

_PAINT = """
import os, sys, time
from blendin_local.cli import main
from blendin_local.tui.screens.chat import ChatScreen
from textual.app import App
draw = App._display
def first(self, screen, renderable):
    draw(self, screen, renderable)
    if getattr(screen, "is_mounted", False) and screen.query("#prompt"):
        os._exit(0)
App._display = first
main(["chat", "--no-keep"], standalone_mode=False)
"""


def seconds(code: str) -> float:
    begun = time.perf_counter()
    environment = os.environ | {"TEXTUAL_DRIVER": "textual.drivers.headless_driver:HeadlessDriver"}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    return time.perf_counter() - begun


def measure_first_paint() -> None:
    pairs = [(seconds(_PAINT), seconds("import textual.app")) for _ in range(ROUNDS)]
    above = median(paint - bare for paint, bare in pairs)
    print(f"first paint, above `import textual.app`: {above:.2f} s (goal 0.8)")


# Speed and keys


def generate_speed() -> float:
    """Tokens/s of the same reply by `blendin generate`, in a process of its own as a user's is.

    Two threads of one process that both use OpenMP would slow each other down.
    """
    command = [sys.executable, "-m", "blendin_local", "generate", "--json", "--n-ctx", str(OPTIONS.n_ctx)]
    command += ["--seed", str(SEED), "--max-tokens", str(TOKENS), PROMPT]
    done = subprocess.run(command, capture_output=True, check=True)
    return float(json.loads(done.stdout)["tokens_per_second"])


async def chat_speed(*, typing: bool) -> tuple[float, list[float]]:
    """Tokens/s of the reply in the app, and from key to screen in seconds where someone is typing."""
    speeds, latencies = [], []
    app = new_app()
    async with app.run_test(size=SIZE) as pilot:
        screen = screen_of(app)
        await until(pilot, lambda: screen.replies.phase is Phase.READY)
        for _ in range(ROUNDS if typing else 1):
            app.session.dialogue.seed = SEED
            app.session.dialogue.restart()
            screen.prompt.text = PROMPT
            screen.prompt.action_send()
            await until(pilot, lambda: screen.replies.phase.is_writing)
            while screen.replies.phase is not Phase.READY:
                if typing:
                    latencies.append(await key_to_screen(app))
                await asyncio.sleep(0.1)
            reply = app.session.dialogue.last
            assert reply is not None
            speeds.append(reply.summary.tokens_per_second)
    return median(speeds), latencies


async def key_to_screen(app: ChatApp) -> float:
    """From a key's event to the end of the first drawing that shows it."""
    prompt = screen_of(app).prompt
    before, draw, shown = prompt.text, app._display, list[float]()

    def watched(*arguments: Any) -> None:
        typed = prompt.text != before
        draw(*arguments)
        if typed:
            shown.append(time.perf_counter())

    app._display = watched  # type: ignore[method-assign]
    begun = time.perf_counter()
    app.post_message(events.Key("x", "x"))
    while not shown:
        await asyncio.sleep(0.001)
    app._display = draw  # type: ignore[method-assign]
    return shown[0] - begun


def measure_speed() -> None:
    """In turns, so that a slower minute of the machine slows both."""
    chatted, generated = [], []
    for _ in range(ROUNDS):
        generated.append(generate_speed())
        chatted.append(asyncio.run(chat_speed(typing=False))[0])
    ratio = median(a / b for a, b in zip(chatted, generated, strict=True))
    speeds = f"{median(chatted):.1f} / {median(generated):.1f}"
    print(f"tokens/s in the chat / generate: {ratio:.3f} ({speeds}; goal 0.95)")
    _, latencies = asyncio.run(chat_speed(typing=True))
    slow = float(np.percentile(latencies, 95))
    print(
        f"key to screen while generating, 95th percentile of {len(latencies)}: {1000 * slow:.0f} ms (goal 50)"
    )


# A long conversation


def long_conversation(store: Store, messages: int) -> str:
    setup = Setup("base", "guide")
    id, parent = new_id(), None
    store.create(id, setup)
    text = "A paragraph of some length with **bold** words in it, and a list:\n\n- one\n- two\n\n" * 3
    for number in range(messages):
        turn = Turn("assistant" if number % 2 else "user", f"{number}. {text}", parent, setup=setup)
        turn.finish_reason = "stop"
        store.save_turn(id, turn)
        parent = turn.id
    store.set_leaf(id, parent)
    return id


async def open_long(messages: int) -> tuple[float, float]:
    """Seconds to open a conversation and stand at its end, and to take in one more word there."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "kept.db")
        id = long_conversation(store, messages)
        app = new_app(store)
        async with app.run_test(size=SIZE) as pilot:
            screen = screen_of(app)
            await until(pilot, lambda: screen.replies.phase is Phase.READY)
            begun = time.perf_counter()
            app.session.dialogue.resume(store.open(id), app.session.dialogue.setup)
            screen.conversation.restart()
            screen.transcript.scroll_home(animate=False)
            screen.transcript.scroll_end(animate=False)
            await pilot.pause()
            opened = time.perf_counter() - begun
            entry = screen.transcript.entries[-1]
            entry.begin_again()
            screen.transcript.changed(entry)
            times = []
            for number in range(200):
                begun = time.perf_counter()
                screen.transcript.write(entry, [(f"word{number} ", "base")])
                times.append(time.perf_counter() - begun)
        return opened, median(times)


def measure_length() -> None:
    few, many = (asyncio.run(open_long(messages)) for messages in (20, 500))
    print(f"500 messages: open and stand at the end {many[0]:.2f} s (goal 1)")
    print(f"one more word after 500 messages / after 20: {many[1] / few[1]:.2f} ({1e6 * many[1]:.0f} µs)")


if __name__ == "__main__":
    measure_first_paint()
    measure_length()
    measure_speed()
