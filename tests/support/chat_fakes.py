"""A scripted chat for tests of the interface, with fixed steps and times, and gates that pause it."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from textual._context import active_app
from textual.events import Key
from textual.pilot import Pilot
from textual.widgets import Footer

from blendin_local.engine.chat_backend import ContextUse, LoadBackend, ReplyRequest
from blendin_local.engine.pair import LoadProgress
from blendin_local.engine.steps import Candidate, Candidates, FinishReason, Source, Step, Summary
from blendin_local.errors import CatalogueError
from blendin_local.history.tree import Setup
from blendin_local.preferences.preferences import ChatPreferences, Preferences
from blendin_local.settings import BlendSettings, GenerationSettings, SamplingSettings
from blendin_local.tui.about import About
from blendin_local.tui.app import ChatApp
from blendin_local.tui.chat.reply_controller import ReplyController
from blendin_local.tui.chat.session import ChatSession
from blendin_local.tui.entry import Kind
from blendin_local.tui.loading import Prepare, Prepared
from blendin_local.tui.phase import Phase
from blendin_local.tui.screens.chat import ChatScreen
from blendin_local.tui.worker import ReplyEnded

WIDE, NARROW = (120, 40), (80, 24)

ABOUT = About(
    base="base-model",
    guide="guide-model",
    pair="demo",
    blend=BlendSettings(),
    memory="Needs about 0.9 GB (files 0.35, KV caches 0.25, buffers 0.30); 12.0 GB are free.",
)
_TURN = (Source.BASE, Source.BASE, Source.GUIDE, Source.BASE, Source.BOTH, Source.BASE, Source.BLEND)


def step(index: int, text: str, source: Source = Source.BASE, data: bytes | None = None) -> Step:
    """Return a step with metrics that depend on its index only."""
    intervened = source is not Source.BASE
    c_b = 0.2 + 0.05 * (index % 4) if intervened else 0.5 + 0.1 * (index % 5)
    c_g = 0.3 + 0.1 * (index % 6) if intervened else None
    return Step(
        index=index,
        data=text.encode("utf-8", "replace") if data is None else data,
        text=text,
        source=source,
        base_tokens=(index,),
        outcome=index,
        c_b=c_b,
        c_g=c_g,
        r_b=c_b,
        r_g=c_g,
        alpha=0.55 if intervened else 0.0,
        consulted=intervened,
        intervened=intervened,
        changed=source is Source.GUIDE,
    )


def steps_of(text: str) -> list[Step]:
    """Return a step for each word, with all sources in turn."""
    words = [f"{word} " for word in text.split(" ")]
    words[-1] = words[-1][:-1]
    return [step(i, word, _TURN[i % len(_TURN)]) for i, word in enumerate(words)]


def thinking_steps(thinking: str, answer: str) -> list[Step]:
    """Steps of a reply that thinks between marks, a step for each word."""
    marks = [step(0, "", data=b"<think>"), step(0, "", data=b"</think>")]
    words = [step(0, f"{word} ") for word in thinking.split()]
    inside = [replace(each, thinking=True) for each in (marks[0], *words, marks[1])]
    return [replace(each, index=i) for i, each in enumerate([*inside, *steps_of(answer)])]


def with_choices(each: Step, *others: str) -> Step:
    """Return a step with further candidates, whose outcomes are 100, 101 and so on."""
    chosen = Candidate(each.data, 0.5, each.outcome)
    choices = (chosen, *(Candidate(text.encode(), 0.1, 100 + i) for i, text in enumerate(others)))
    return replace(each, candidates=Candidates(base=choices, blend=choices))


class FakeReply:
    """Yields its steps, waits at `hold_at` until its gate opens or it is cancelled, and may raise `error`."""

    def __init__(
        self,
        steps: Sequence[Step],
        *,
        tail: str = "",
        error: Exception | None = None,
        hold_at: int | None = None,
        dropped: int = 0,
        ends: FinishReason = "stop",
    ) -> None:
        self.dropped_messages = dropped
        self.prefix: tuple[Step, ...] = ()
        self.gate = threading.Event()
        self.text = ""
        self.summary = Summary()
        self.finish_reason: FinishReason | None = None
        self._steps = steps
        self._tail = tail
        self._error = error
        self._hold_at = hold_at
        self._ends = ends
        self._cancelled = threading.Event()

    def go_on_from(self, prefix: tuple[Step, ...]) -> None:
        self.prefix = prefix
        for each in prefix:
            self.text += "" if each.thinking else each.text
            self.summary.take_over(each)

    def __iter__(self) -> Iterator[Step]:
        for i, each in enumerate(self._steps):
            each = replace(each, index=each.index + len(self.prefix))
            if i == self._hold_at:
                self._wait()
            if self._cancelled.is_set():
                self._end("cancelled")
                return
            if i == len(self._steps) - 1 and not self._error:
                each = replace(each, finish_reason=self._ends)
            self.text += "" if each.thinking else each.text
            timings = self.summary.timings
            timings.first_token_s = 0.25
            timings.total_s = 0.25 + i * 0.025
            self.summary.add(each)
            yield each
        if self._error:
            raise self._error
        self._end(self._ends)

    def cancel(self) -> None:
        self._cancelled.set()

    def _wait(self) -> None:
        while not self.gate.wait(0.005) and not self._cancelled.is_set():
            pass

    def _end(self, reason: FinishReason) -> None:
        self.finish_reason = self.summary.finish_reason = reason
        self.text += self._tail


class SlowToStop(FakeReply):
    """A reply that stops only when its gate opens, as models do at the end of a decode."""

    def _wait(self) -> None:
        self.gate.wait()


def replies(*words: str) -> list[FakeReply]:
    return [FakeReply(steps_of(text)) for text in words]


Script = FakeReply | Exception


class FakeChat:
    """A backend with a script: each request returns the next reply or raises the next error."""

    def __init__(self, *script: Script, calibrated: bool = False) -> None:
        self.models = {"base": "b", "guide": "g"}
        self.calibrated = calibrated
        self.requests: list[ReplyRequest] = []
        self.closed = threading.Event()
        self._script = list(script)

    @property
    def asked(self) -> list[str]:
        """The last message of each request."""
        return [request.messages[-1].content for request in self.requests]

    def write(self, request: ReplyRequest) -> FakeReply:
        self.requests.append(request)
        following = self._script.pop(0)
        if isinstance(following, Exception):
            raise following
        following.go_on_from(request.prefix)
        return following

    def context_use(self) -> Mapping[str, ContextUse]:
        return {"base": ContextUse(412, 4096), "guide": ContextUse(3800, 4096)}

    def close(self) -> None:
        self.closed.set()


class FakeLoad:
    """A load that reports half of the base and, if `held`, waits until `finish` is set."""

    def __init__(self, chat: FakeChat, *, held: bool = False, error: Exception | None = None) -> None:
        self.finish = threading.Event()
        self.cancelled = False
        self._chat = chat
        self._error = error
        if not held:
            self.finish.set()

    def __call__(self, progress: LoadProgress) -> FakeChat:
        while True:
            if not progress("base", 0.5):
                self.cancelled = True
                raise RuntimeError("the load was cancelled")
            if self.finish.wait(0.005):
                break
        if self._error:
            raise self._error
        return self._chat


def app_with(
    load: LoadBackend, *, about: About = ABOUT, temperature: float = 0.8, view: str = "tokens", **options: Any
) -> ChatApp:
    """Return an app that loads these models. view: of finished replies."""
    settings = GenerationSettings(sampling=SamplingSettings(temperature=temperature))
    prepared = Prepared(about, Setup(about.base, about.guide, about.pair, settings=settings), load)
    preferences = options.pop("preferences", None) or Preferences(ChatPreferences(view=view))  # type: ignore[arg-type]
    # Tests wait for polls of the models' thread: the usual rate would be slow.
    options["preferences"] = replace(preferences, chat=replace(preferences.chat, looks_per_second=60))
    options.setdefault("prepare", no_pairs)
    return ChatApp(ChatSession(prepared, **options))


def no_pairs(pair: str, base: str, guide: str) -> Prepared:
    raise CatalogueError(f"There is no pair called {pair or base}.")


def app_of(*script: Script, calibrated: bool = False, **options: Any) -> tuple[ChatApp, FakeChat]:
    """Return an app whose models load at once, and its scripted backend."""
    chat = FakeChat(*script, calibrated=calibrated)
    return app_with(FakeLoad(chat), **options), chat


def pairs_of(**loads: FakeLoad) -> Prepare:
    """Return a `Prepare` of pairs by name; their setups have a system prompt."""

    def prepare(pair: str, base: str, guide: str) -> Prepared:
        name = pair or f"{base} {guide}"
        about = About(f"{name}-base", f"{name}-guide", name)
        return Prepared(about, Setup(about.base, about.guide, name, system="The pair's."), loads[name])

    return prepare


async def wait_until(pilot: Pilot[None], true: Callable[[], object], seconds: float = 20) -> None:
    """Let the app run until a condition holds."""
    for _ in range(int(seconds / 0.02)):
        if true():
            await pilot.pause()
            return
        await pilot.pause(0.02)
    raise AssertionError("waited in vain")


# The screen


def screen_of(app: ChatApp) -> ChatScreen:
    screen = app.screen_stack[0]
    assert isinstance(screen, ChatScreen)
    return screen


def texts(app: ChatApp, kind: Kind | None = None) -> list[str]:
    """Return the texts of the transcript's entries."""
    entries = screen_of(app).transcript.entries
    return [entry.text for entry in entries if kind in (None, entry.kind)]


def feet(app: ChatApp) -> list[str]:
    """Return the footers of the transcript's entries."""
    return [entry.foot.text for entry in screen_of(app).transcript.entries]


def visible(app: ChatApp) -> str:
    """Return the text of the screen."""
    rows = app.screen._compositor.render_strips(app.size)
    return "\n".join("".join(segment.text for segment in row) for row in rows)


def told(app: ChatApp) -> str:
    """Return the text of the last notification, or ""."""
    said = [note.message for note in app._notifications]
    return said[-1] if said else ""


def assert_inert(said: str) -> None:
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b\u202a-\u202e\u2066-\u2069\ud800-\udfff]", said)


# Actions of a user

FOOTER = Footer.compose
"""The method that `prompt_pilot` replaces."""


@pytest.fixture(autouse=True)
def prompt_pilot(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the pilot wait until its keys are handled, rather than for a time.

    Textual's own pilot waits for an idle processor, which polling the models' thread keeps busy.
    """

    async def handled(min_sleep: float = 0, max_sleep: float = 0) -> None:
        app = active_app.get()
        for _ in range(2):
            quiet = 0
            # Queues of an app that has failed are never empty.
            while quiet < 4 and app._exception is None:
                await asyncio.sleep(0)
                pumps = (app, *app.screen.walk_children(with_self=True))
                quiet = 0 if any(pump.message_queue_size for pump in pumps) else quiet + 1
            app.screen._on_timer_update()

    # Textual composes the footer again whenever the focus moves, which would take most of the time.
    monkeypatch.setattr(Footer, "compose", lambda footer: iter(()))
    for module in ("app", "pilot"):
        monkeypatch.setattr(f"textual.{module}.wait_for_idle", handled)


def unpolled(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Stop the polling of the models' thread once the returned list is emptied."""
    poll, listening = ReplyController.poll, [True]
    monkeypatch.setattr(ReplyController, "poll", lambda self: poll(self) if listening else None)
    return listening


def rush(app: ChatApp, *keys: str) -> None:
    """Press keys that arrive all at once, as after a delay of the screen or the connection."""
    for key in keys:
        app.post_message(Key(key, key if len(key) == 1 else None))


def has_ended(app: ChatApp) -> bool:
    """Return whether the models' thread has ended a reply that the chat has not polled."""
    return any(isinstance(event, ReplyEnded) for event in app.session.worker.events)


async def ready(pilot: Pilot[None], app: ChatApp) -> None:
    await wait_until(pilot, lambda: screen_of(app).replies.phase is Phase.READY)


async def press(pilot: Pilot[None], app: ChatApp, *keys: str) -> None:
    """Press keys, and wait for the reply that they may request."""
    await pilot.press(*keys)
    await pilot.pause()
    await ready(pilot, app)


async def say(pilot: Pilot[None], app: ChatApp, text: str) -> None:
    """Send a message or a command, without waiting for its effect."""
    prompt = screen_of(app).prompt
    prompt.focus()
    prompt.insert(text)
    prompt.suggestions.offer([])
    await pilot.press("enter")
    await pilot.pause()


async def ask(pilot: Pilot[None], app: ChatApp, text: str = "Why?") -> None:
    """Send a message and wait for the end of the reply."""
    await say(pilot, app, text)
    await ready(pilot, app)


@asynccontextmanager
async def chatting(
    *script: Script, size: tuple[int, int] = NARROW, asked: str = "", **options: Any
) -> AsyncIterator[tuple[Pilot[None], ChatApp, FakeChat]]:
    """Run an app with loaded models. asked: a message that is sent and answered first."""
    app, chat = app_of(*script, **options)
    async with app.run_test(size=size) as pilot:
        await ready(pilot, app)
        if asked:
            await ask(pilot, app, asked)
        yield pilot, app, chat
