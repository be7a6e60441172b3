"""A scripted chat for tests of the interface: fixed steps, fixed times, and gates that hold it still."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from textual.pilot import Pilot

from blendin_local.settings import BlendSettings, GenerationSettings, SamplingSettings
from blendin_local.steps import FinishReason, Source, Step, Summary
from blendin_local.tui.about import About
from blendin_local.tui.app import ChatApp, make_app
from blendin_local.tui.chat import Fill, Progress, ReplyLike

ABOUT = About(
    base="base-model",
    guide="guide-model",
    pair="demo",
    blend=BlendSettings(),
    memory="Needs about 0.9 GB (files 0.35, KV caches 0.25, buffers 0.30); 12.0 GB are free.",
)
_TURN = (Source.BASE, Source.BASE, Source.GUIDE, Source.BASE, Source.BOTH, Source.BASE, Source.BLEND)


def step(index: int, text: str, source: Source = Source.BASE, data: bytes | None = None) -> Step:
    """A step with made-up figures that depend on its index only."""
    intervened = source is not Source.BASE
    c_b = 0.2 + 0.05 * (index % 4) if intervened else 0.5 + 0.1 * (index % 5)
    c_g = 0.3 + 0.1 * (index % 6) if intervened else None
    return Step(
        index=index,
        data=text.encode() if data is None else data,
        text=text,
        source=source,
        base_tokens=(index,),
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
    """A step for each word, by all sources in turn."""
    words = [f"{word} " for word in text.split(" ")]
    words[-1] = words[-1][:-1]
    return [step(i, word, _TURN[i % len(_TURN)]) for i, word in enumerate(words)]


class FakeReply:
    """Yields its steps; waits at `hold_at` until the gate opens or it is cancelled; may end in an error."""

    def __init__(
        self,
        steps: Sequence[Step],
        *,
        tail: str = "",
        error: Exception | None = None,
        hold_at: int | None = None,
        dropped: int = 0,
    ) -> None:
        self.dropped_messages = dropped
        self.gate = threading.Event()
        self.text = ""
        self.summary = Summary()
        self.finish_reason: FinishReason | None = None
        self._steps = steps
        self._tail = tail
        self._error = error
        self._hold_at = hold_at
        self._cancelled = threading.Event()

    def __iter__(self) -> Iterator[Step]:
        for i, each in enumerate(self._steps):
            if i == self._hold_at:
                self._wait()
            if self._cancelled.is_set():
                self._end("cancelled")
                return
            if i == len(self._steps) - 1 and not self._error:
                each = replace(each, finish_reason="stop")
            self.text += each.text
            timings = self.summary.timings
            timings.first_token_s = 0.25
            timings.total_s = 0.25 + i * 0.025
            self.summary.add(each)
            yield each
        if self._error:
            raise self._error
        self._end("stop")

    def cancel(self) -> None:
        self._cancelled.set()

    def _wait(self) -> None:
        while not self.gate.wait(0.005) and not self._cancelled.is_set():
            pass

    def _end(self, reason: FinishReason) -> None:
        self.finish_reason = self.summary.finish_reason = reason
        self.text += self._tail


Script = FakeReply | Exception


class FakeChat:
    """Plays a script: each `send` or `again` takes the next reply, or raises the next error."""

    def __init__(self, *script: Script, calibrated: bool = False, temperature: float = 0.8) -> None:
        self.calibrated = calibrated
        self.settings = GenerationSettings(sampling=SamplingSettings(temperature=temperature))
        self.asked: list[str] = []
        self.kept: list[str] = []
        self.restarts = 0
        self.closed = threading.Event()
        self._script = list(script)

    def send(self, text: str) -> FakeReply:
        self.asked.append(text)
        return self._next()

    def again(self) -> FakeReply:
        self.asked.append("(again)")
        return self._next()

    def _next(self) -> FakeReply:
        following = self._script.pop(0)
        if isinstance(following, Exception):
            raise following
        return following

    def keep(self, reply: ReplyLike) -> bool:
        if reply.text:
            self.kept.append(reply.text)
        return bool(reply.text)

    def restart(self) -> None:
        self.restarts += 1

    def fills(self) -> Mapping[str, Fill]:
        return {"base": Fill(412, 4096), "guide": Fill(3800, 4096)}

    def close(self) -> None:
        self.closed.set()


class FakeLoad:
    """A load that reports half of the base and then waits until `finish` is called, if it is held."""

    def __init__(self, chat: FakeChat, *, held: bool = False, error: Exception | None = None) -> None:
        self.finish = threading.Event()
        self.cancelled = False
        self._chat = chat
        self._error = error
        if not held:
            self.finish.set()

    def __call__(self, progress: Progress) -> FakeChat:
        while True:
            if not progress("base", 0.5):
                self.cancelled = True
                raise RuntimeError("the load was cancelled")
            if self.finish.wait(0.005):
                break
        if self._error:
            raise self._error
        return self._chat


def app_of(*script: Script, about: About = ABOUT, **options: object) -> tuple[ChatApp, FakeChat]:
    """An app whose models are loaded at once, and the scripted chat behind it."""
    chat = FakeChat(*script, **options)  # type: ignore[arg-type]
    return make_app(FakeLoad(chat), about), chat


async def wait_until(pilot: Pilot[None], true: Callable[[], object], seconds: float = 20) -> None:
    """Give the app time until something holds."""
    for _ in range(int(seconds / 0.02)):
        if true():
            await pilot.pause()
            return
        await pilot.pause(0.02)
    raise AssertionError("waited in vain")
