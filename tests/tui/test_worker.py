"""Tests of the models' thread: replies, loads, cancelling, closing."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from support.chat_fakes import FakeChat, FakeLoad, FakeReply, steps_of

from blendin_local.engine.chat_backend import ChatBackend, ReplyRequest
from blendin_local.engine.pair import LoadProgress
from blendin_local.engine.prompts import Message
from blendin_local.engine.steps import Step
from blendin_local.errors import ModelError, PromptError
from blendin_local.tui.worker import Event, Loaded, LoadFailed, ModelWorker, ReplyBegun, ReplyEnded

ASK = ReplyRequest((Message("user", "hello"),))
PATIENCE_S = 60
CANCELLED = "Loading was cancelled."


class Heard(deque[Event]):
    """A worker, and functions that wait for its events."""

    def __init__(self) -> None:
        super().__init__()
        self.more = threading.Condition()

    def append(self, event: Event) -> None:
        with self.more:
            super().append(event)
            self.more.notify_all()

    def wait_for(self, true: Callable[[list[Event]], bool]) -> list[Event]:
        with self.more:
            assert self.more.wait_for(lambda: true(list(self)), PATIENCE_S), list(self)
            return list(self)

    def of(self, kind: type[Event], number: int = 1) -> list[Event]:
        """Wait for `number` events of a kind, and return all events so far."""
        return self.wait_for(lambda events: sum(isinstance(each, kind) for each in events) >= number)


class Worker(ModelWorker):
    def __init__(self) -> None:
        super().__init__()
        self.heard = Heard()
        self.events = self.heard

    def loaded_with(self, chat: ChatBackend) -> FakeLoad:
        load = FakeLoad(chat)  # type: ignore[arg-type]
        self.load(load)
        assert self.last(Loaded) == Loaded(chat)
        return load

    def last(self, kind: type[Event]) -> Event:
        """Wait for an event of a kind, and return the last event; clear all."""
        events = self.heard.of(kind)
        self.events.clear()
        return events[-1]


class Load:
    """A load that cannot be interrupted: waits until it may end, and returns or raises the next outcome."""

    def __init__(self, *outcomes: ChatBackend | Exception) -> None:
        self.outcomes = list(outcomes)
        self.reached = threading.Event()
        self.may_end = threading.Event()
        self.calls = 0

    def __call__(self, progress: LoadProgress) -> ChatBackend:
        self.calls += 1
        progress("base", 0.25)
        self.reached.set()
        assert self.may_end.wait(PATIENCE_S)
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


@contextmanager
def worker_of(chat: ChatBackend | None = None) -> Iterator[Worker]:
    worker = Worker()
    if chat:
        worker.loaded_with(chat)
    yield worker
    worker.close()
    assert worker.join(PATIENCE_S)


def ended(events: list[Event]) -> list[ReplyEnded]:
    return [event for event in events if isinstance(event, ReplyEnded)]


# Writing


def test_all_steps_arrive_once_in_order_between_begun_and_ended() -> None:
    steps = steps_of(" ".join(f"w{i}" for i in range(500)))
    replies = [FakeReply(steps), FakeReply(steps, tail="…")]
    with worker_of(FakeChat(*replies)) as worker:
        worker.write(ASK)
        worker.write(ASK)
        events = worker.heard.of(ReplyEnded, 2)
    one, two = events[:502], events[502:]
    for each, reply in zip((one, two), replies, strict=True):
        assert each[0] == ReplyBegun(reply)
        assert [step.index for step in each[1:-1] if isinstance(step, Step)] == list(range(500))
        assert each[-1] == ReplyEnded(reply.text, "stop")
    assert two[-1] == ReplyEnded("".join(step.text for step in steps) + "…", "stop")


def test_a_reply_stopped_before_it_begins_ends_as_cancelled() -> None:
    load = Load(FakeChat(FakeReply(steps_of("one two"))))
    with worker_of() as worker:
        worker.load(load)
        worker.write(ASK)
        worker.stop()
        load.may_end.set()
        events = worker.heard.of(ReplyEnded)
        assert ended(events) == [ReplyEnded("", "cancelled")]
        assert not [event for event in events if isinstance(event, Step)]


def test_stop_ends_the_current_and_the_queued_reply_but_no_later_one() -> None:
    held = FakeReply(steps_of("one two three"), hold_at=1)
    chat = FakeChat(held, FakeReply(steps_of("four")), FakeReply(steps_of("five")))
    with worker_of(chat) as worker:
        worker.write(ASK)
        worker.write(ASK)
        worker.heard.of(Step)
        worker.stop()
        worker.write(ASK)
        assert ended(worker.heard.of(ReplyEnded, 3)) == [
            ReplyEnded("one ", "cancelled"),
            ReplyEnded("", "cancelled"),
            ReplyEnded("five", "stop"),
        ]


def test_a_stop_after_the_end_stops_nothing() -> None:
    with worker_of(FakeChat(FakeReply(steps_of("one")), FakeReply(steps_of("two")))) as worker:
        worker.write(ASK)
        worker.last(ReplyEnded)
        worker.stop()
        worker.write(ASK)
        assert worker.last(ReplyEnded) == ReplyEnded("two", "stop")


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (PromptError("The message is too long."), "The message is too long."),
        (MemoryError(), "Something went wrong inside blendin (MemoryError: )."),
        (KeyError("base"), "Something went wrong inside blendin (KeyError: 'base')."),
    ],
)
def test_a_failed_reply_has_an_error_and_the_next_is_written(error: Exception, sentence: str) -> None:
    broken = FakeReply(steps_of("one two"), error=error)
    with worker_of(FakeChat(error, broken, FakeReply(steps_of("three")))) as worker:
        worker.write(ASK)
        assert worker.last(ReplyEnded) == ReplyEnded("", None, sentence)
        worker.write(ASK)
        assert worker.last(ReplyEnded) == ReplyEnded("one two", None, sentence)
        worker.write(ASK)
        assert worker.last(ReplyEnded) == ReplyEnded("three", "stop")


def test_a_reply_without_models_has_an_error() -> None:
    with worker_of() as worker:
        worker.write(ASK)
        assert worker.last(ReplyEnded) == ReplyEnded("", None, "No models are loaded.")


# Loading other models


def test_new_models_replace_the_old_ones_which_are_freed() -> None:
    old, new = FakeChat(), FakeChat(FakeReply(steps_of("new")))
    with worker_of(old) as worker:
        worker.loaded_with(new)
        assert old.closed.is_set()
        worker.write(ASK)
        assert worker.last(ReplyEnded) == ReplyEnded("new", "stop")
    assert new.closed.is_set()


def test_the_old_models_stay_until_the_new_ones_are_loaded() -> None:
    old, load = FakeChat(), Load(FakeChat())
    with worker_of(old) as worker:
        worker.load(load)
        assert load.reached.wait(PATIENCE_S)
        assert not old.closed.is_set()
        load.may_end.set()
        worker.last(Loaded)
        assert old.closed.is_set()


def test_old_models_are_freed_first_if_both_do_not_fit() -> None:
    old, load = FakeChat(), Load(FakeChat())
    with worker_of(old) as worker:
        worker.load(load, release_first=True)
        assert load.reached.wait(PATIENCE_S)
        assert old.closed.is_set()
        load.may_end.set()
        worker.last(Loaded)


def test_a_failed_load_keeps_the_old_models() -> None:
    old = FakeChat(FakeReply(steps_of("old")))
    with worker_of(old) as worker:
        worker.load(FakeLoad(FakeChat(), error=ModelError("The file is cut off.")))
        assert worker.last(LoadFailed) == LoadFailed("The file is cut off.", old)
        assert not old.closed.is_set()
        worker.write(ASK)
        assert worker.last(ReplyEnded) == ReplyEnded("old", "stop")


def test_another_load_can_follow_a_failed_first_one() -> None:
    with worker_of() as worker:
        worker.load(FakeLoad(FakeChat(), error=OSError(12, "Cannot allocate memory")))
        failed = worker.last(LoadFailed)
        assert isinstance(failed, LoadFailed)
        assert failed.chat is None
        assert "Cannot allocate memory" in failed.reason
        worker.loaded_with(FakeChat())


def test_freed_old_models_are_loaded_again_if_the_new_ones_fail() -> None:
    again = FakeChat(FakeReply(steps_of("again")))
    first = Load(FakeChat(), again)
    first.may_end.set()
    with worker_of() as worker:
        worker.load(first)
        worker.last(Loaded)
        worker.load(FakeLoad(FakeChat(), error=ModelError("Too large.")), release_first=True)
        assert worker.last(LoadFailed) == LoadFailed("Too large.", again)
        # Progress of the old models would be shown as that of the new ones.
        assert worker.progress == ("", 0.0)
        worker.write(ASK)
        assert worker.last(ReplyEnded) == ReplyEnded("again", "stop")


def test_if_both_loads_fail_both_errors_are_told_and_the_old_models_are_retried() -> None:
    again = FakeChat()
    first = Load(FakeChat(), ModelError("Also too large."), again)
    first.may_end.set()
    with worker_of() as worker:
        worker.load(first)
        worker.last(Loaded)
        worker.load(FakeLoad(FakeChat(), error=ModelError("Too large.")), release_first=True)
        assert worker.last(LoadFailed) == LoadFailed(
            "Too large. The old models cannot be loaded again either: Also too large.", None
        )
        worker.load(FakeLoad(FakeChat(), error=ModelError("Too large.")))
        assert worker.last(LoadFailed) == LoadFailed("Too large.", again)


def test_an_error_while_freeing_models_is_ignored() -> None:
    class Stuck(FakeChat):
        def close(self) -> None:
            raise RuntimeError("no")

    with worker_of(Stuck()) as worker:
        worker.loaded_with(Stuck(FakeReply(steps_of("alive"))))
        worker.write(ASK)
        assert worker.last(ReplyEnded) == ReplyEnded("alive", "stop")


# Cancelling a load


@pytest.mark.parametrize("release_first", [False, True])
def test_a_load_cancelled_before_it_begins_keeps_the_old_models(release_first: bool) -> None:
    old = FakeChat(FakeReply(steps_of("one"), hold_at=0))
    load = Load(FakeChat())
    with worker_of(old) as worker:
        worker.write(ASK)
        worker.heard.of(ReplyBegun)
        worker.load(load, release_first=release_first)
        worker.cancel_load()
        worker.stop()
        assert worker.last(LoadFailed) == LoadFailed(CANCELLED, old)
        assert not load.calls
        assert not old.closed.is_set()


def test_a_cancelled_load_stops_at_its_next_report() -> None:
    old, load = FakeChat(), FakeLoad(FakeChat(), held=True)
    with worker_of(old) as worker:
        worker.load(load)
        worker.cancel_load()
        assert worker.last(LoadFailed) == LoadFailed(CANCELLED, old)


def test_models_loaded_after_a_cancel_are_freed_and_the_old_ones_stay() -> None:
    """After the files are read, no progress is reported, but vocabularies are still matched."""
    old, new = FakeChat(FakeReply(steps_of("old"))), FakeChat()
    load = Load(new)
    with worker_of(old) as worker:
        worker.load(load)
        assert load.reached.wait(PATIENCE_S)
        worker.cancel_load()
        load.may_end.set()
        assert worker.last(LoadFailed) == LoadFailed(CANCELLED, old)
        assert new.closed.is_set()
        worker.write(ASK)
        assert worker.last(ReplyEnded) == ReplyEnded("old", "stop")


def test_a_load_cancelled_after_freeing_the_old_models_restores_them() -> None:
    again = FakeChat()
    first, load = Load(FakeChat(), again), Load(FakeChat())
    first.may_end.set()
    with worker_of() as worker:
        worker.load(first)
        worker.last(Loaded)
        worker.load(load, release_first=True)
        assert load.reached.wait(PATIENCE_S)
        worker.cancel_load()
        load.may_end.set()
        assert worker.last(LoadFailed) == LoadFailed(CANCELLED, again)


def test_a_cancel_does_not_affect_later_loads() -> None:
    first, second = FakeLoad(FakeChat(), held=True), FakeChat()
    with worker_of(FakeChat()) as worker:
        worker.cancel_load()
        worker.load(first)
        worker.cancel_load()
        worker.load(FakeLoad(second))
        events = worker.heard.of(Loaded)
        assert isinstance(events[0], LoadFailed)
        assert events[0].reason == CANCELLED
        assert events[1:] == [Loaded(second)]


# Closing


def test_closing_stops_the_current_reply_and_frees_the_models() -> None:
    chat = FakeChat(FakeReply(steps_of("one two"), hold_at=1), FakeReply(steps_of("never")))
    worker = Worker()
    worker.loaded_with(chat)
    worker.write(ASK)
    worker.write(ASK)
    worker.heard.of(Step)
    worker.close()
    worker.close()
    assert worker.join(PATIENCE_S)
    assert ended(list(worker.events)) == [ReplyEnded("one ", "cancelled")]
    assert chat.closed.is_set()
    assert len(chat.requests) == 1


def test_closing_cancels_a_load() -> None:
    old, load = FakeChat(), FakeLoad(FakeChat(), held=True)
    worker = Worker()
    worker.loaded_with(old)
    worker.load(load)
    worker.close()
    assert worker.join(PATIENCE_S)
    assert old.closed.is_set()


def test_closing_frees_models_of_an_uninterruptible_load_without_restoring_others() -> None:
    new = FakeChat()
    first, load = Load(FakeChat()), Load(new)
    first.may_end.set()
    worker = Worker()
    worker.load(first)
    worker.last(Loaded)
    worker.load(load, release_first=True)
    assert load.reached.wait(PATIENCE_S)
    worker.close()
    assert not worker.join(0)
    load.may_end.set()
    assert worker.join(PATIENCE_S)
    assert new.closed.is_set()
    assert first.calls == 1


def test_an_unused_worker_closes_at_once() -> None:
    worker = ModelWorker()
    worker.close()
    assert worker.join(0)
    worker.write(ASK)
    worker.load(Load())
    assert worker.join(0)
