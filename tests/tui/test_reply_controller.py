"""Tests of the reply controller without a screen."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest
from support.chat_fakes import ABOUT, FakeChat, FakeLoad, FakeReply, no_pairs, steps_of

from blendin_local.engine.steps import Summary
from blendin_local.errors import ModelError
from blendin_local.history.tree import Setup, Turn
from blendin_local.tui.chat.interfaces import ReplyEnd
from blendin_local.tui.chat.reply_controller import ReplyController
from blendin_local.tui.chat.session import ChatSession
from blendin_local.tui.loading import Prepared
from blendin_local.tui.phase import Phase
from blendin_local.tui.reply_text import Piece


class Recorder:
    """A view and a sink that record their calls."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.phases: list[Phase] = []
        self.text = ""
        self.ends: list[ReplyEnd] = []
        self.taken_back: list[str] = []

    def tell(self, text: str, *, error: bool = False) -> None:
        self.told.append(text)

    def show_phase(self, phase: Phase) -> None:
        self.phases.append(phase)

    def show_progress(self, role: str, share: float) -> None: ...

    def show_pair(self) -> None: ...

    def show_metrics(self) -> None: ...

    def take_back(self, typed: str) -> None:
        self.taken_back.append(typed)

    def load_failed(self, reason: str) -> None:
        self.told.append(reason)

    def started(self, turn: Turn) -> None:
        self.text = ""

    def write(self, turn: Turn, pieces: list[Piece], summary: Summary) -> None:
        self.text += "".join(text for text, _ in pieces)

    def ended(self, end: ReplyEnd) -> None:
        self.ends.append(end)


Controlled = Callable[[FakeLoad], tuple[ChatSession, ReplyController, Recorder]]


@pytest.fixture
def controlled() -> Iterator[Controlled]:
    sessions: list[ChatSession] = []

    def begin(load: FakeLoad) -> tuple[ChatSession, ReplyController, Recorder]:
        session = ChatSession(Prepared(ABOUT, Setup(ABOUT.base, ABOUT.guide), load), no_pairs, seed=1)
        sessions.append(session)
        recorder = Recorder()
        controller = ReplyController(session, recorder, lambda: recorder)
        controller.load_first()
        return session, controller, recorder

    yield begin
    for session in sessions:
        session.close()


def look_until(controller: ReplyController, phase: Phase) -> None:
    end = time.monotonic() + 20
    while controller.phase is not phase:
        assert time.monotonic() < end
        controller.poll()
        time.sleep(0.005)


def test_a_message_waits_for_the_models_and_is_answered(controlled: Controlled) -> None:
    load = FakeLoad(FakeChat(FakeReply(steps_of("one two"))), held=True)
    session, controller, seen = controlled(load)
    controller.start(session.dialogue.send("Why?"), typed="Why?")
    assert not controller.may_act()
    assert seen.told == ["The models are being loaded: one moment."]
    load.finish.set()
    look_until(controller, Phase.READY)
    assert seen.phases == [Phase.LOADING, Phase.WAITING, Phase.READY, Phase.WRITING, Phase.READY]
    assert seen.text == "one two"
    (end,) = seen.ends
    assert (end.turn, end.begun, end.error) == (session.dialogue.last, True, "")
    assert seen.taken_back == []
    assert controller.may_act()


def test_a_message_that_the_models_refuse_returns_to_the_input(controlled: Controlled) -> None:
    session, controller, seen = controlled(FakeLoad(FakeChat(ModelError("Too long."))))
    look_until(controller, Phase.READY)
    controller.start(session.dialogue.send("Why?"), typed="Why?")
    look_until(controller, Phase.READY)
    assert (seen.taken_back, session.dialogue.last) == (["Why?"], None)
    assert [(end.turn, end.begun, end.error) for end in seen.ends] == [(None, False, "Too long.")]


def test_an_action_during_a_stop_runs_after_it(controlled: Controlled) -> None:
    session, controller, seen = controlled(FakeLoad(FakeChat(FakeReply(steps_of("one two"), hold_at=1))))
    look_until(controller, Phase.READY)
    controller.start(session.dialogue.send("Why?"))
    while not seen.text:
        controller.poll()
    assert controller.stop()
    done: list[list[ReplyEnd]] = []
    controller.when_stopped(lambda: done.append(list(seen.ends)))
    assert done == []
    look_until(controller, Phase.READY)
    assert done == [seen.ends] and seen.ends[0].cancelled
    assert not controller.stop()


def test_the_reply_controller_does_not_import_textual() -> None:
    code = "import sys, blendin_local.tui.chat.reply_controller; print('textual' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
