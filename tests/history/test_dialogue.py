"""The conversation behind the app: what each act requests for, and what is on the disk at any moment."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from support.chat_fakes import FakeChat, FakeReply, step, steps_of

from blendin_local.engine.chat_backend import ReplyRequest
from blendin_local.engine.steps import Candidate, Source, Step
from blendin_local.errors import HistoryError, PromptError
from blendin_local.formats import Formats
from blendin_local.history.dialogue import Dialogue
from blendin_local.history.journal import Call, Journal
from blendin_local.history.store import SavedConversation, Store
from blendin_local.history.tree import Setup, Turn
from blendin_local.settings import BlendSettings, GenerationSettings

SETUP = Setup("base", "guide", "pair", system="Be kind.")
CHAT = FakeChat()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "chats.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    """What another program sees."""
    with closing(Store(path)) as store:
        yield store


@pytest.fixture
def dialogue(path: Path) -> Iterator[Dialogue]:
    journal = Journal(Store(path))
    yield Dialogue(SETUP, journal, fresh_seed=itertools.count(5).__next__)
    journal.close()


def kept(store: Store, dialogue: Dialogue) -> SavedConversation:
    assert dialogue.journal.flush()
    return store.open(dialogue.id)


def answer(dialogue: Dialogue, request: ReplyRequest, text: str, *, end: bool = True) -> Turn:
    """Write a reply as the screen does."""
    reply = FakeReply(steps_of(text))
    reply.go_on_from(request.prefix)
    dialogue.start_reply(reply, CHAT)
    dialogue.append_steps(list(reply))
    assert dialogue.reply is not None
    turn = dialogue.reply
    if end:
        dialogue.end(reply.text, reply.finish_reason, "")
    return turn


def said(dialogue: Dialogue) -> list[str]:
    return [turn.text for turn in dialogue.tree.path()]


def test_what_is_said_is_kept_at_once_and_replies_as_they_grow(dialogue: Dialogue, store: Store) -> None:
    request = dialogue.send("Why?")
    assert [message.content for message in request.messages] == ["Be kind.", "Why?"]
    now = kept(store, dialogue)
    assert [turn.text for turn in now.tree.path()] == ["Why?", ""]
    assert (now.title, now.setup) == ("Why?", SETUP)

    # The program is killed between two checkpoints: what was handed over is there, as a reply that was cut.
    turn = answer(dialogue, request, "one two", end=False)
    assert kept(store, dialogue).tree.turns[turn.id].text == ""
    dialogue.checkpoint()
    dialogue.append_steps([step(2, " three")])
    cut = kept(store, dialogue).tree.turns[turn.id]
    assert (cut.text, cut.finish_reason, cut.summary.steps) == ("one two", "cancelled", 2)
    assert store.load_steps(turn.id) == turn.steps[:2]
    dialogue.checkpoint()
    assert kept(store, dialogue).tree.turns[turn.id].text == "one two three"
    assert store.load_steps(turn.id) == turn.steps

    dialogue.end("one two three tail", "stop", "")
    whole = kept(store, dialogue).tree.turns[turn.id]
    assert (whole.text, whole.finish_reason) == ("one two three tail", "stop")
    assert whole.models == CHAT.models


def test_what_is_handed_over_does_not_change_any_more(store: Store) -> None:
    class Slow(Journal):
        """Keeps nothing until it is told to."""

        def put(self, call: Call) -> None:
            calls.append(call)

    calls: list[Call] = []
    dialogue = Dialogue(SETUP, Slow(None))
    turn = answer(dialogue, dialogue.send("a"), "one two")
    texts = []
    for call in calls:
        call(store)
        texts += [each.text for each in store.open(dialogue.id).tree.path() if each.id == turn.id]
    assert [text for text, _ in itertools.groupby(texts)] == ["", "one two"]


def test_a_conversation_is_resumed_exactly(dialogue: Dialogue, store: Store, path: Path) -> None:
    answer(dialogue, dialogue.send("a"), "one")
    first = dialogue.last
    answer(dialogue, dialogue.regenerate(), "two")
    answer(dialogue, dialogue.send("b"), "three")
    assert first is not None
    dialogue.select(first)
    dialogue.rename("  A title ")
    settings = SETUP.settings
    dialogue.change(Setup("base", "guide", "pair", "New.", settings))
    now = kept(store, dialogue)
    with closing(Store(path)) as other:
        resumed = Dialogue(SETUP, Journal(None), steps_of=other.load_steps)
        formats = Formats("raw", "raw")
        resumed.resume(now, Setup("x", "y", "z", formats=formats))
        assert (resumed.id, resumed.title, said(resumed)) == (dialogue.id, "A title", ["a", "one"])
        # With the models that are there.
        assert resumed.setup == Setup("x", "y", "z", "New.", settings, formats)
        assert [each.text for each in resumed.steps(resumed.replies[0])] == ["one"]
        second = resumed.sibling(resumed.replies[0], 1)
        assert second is not None
        resumed.select(second)
        assert said(resumed) == ["a", "two", "b", "three"]
        assert not resumed.undo()


def test_every_reply_has_a_seed_of_its_own(dialogue: Dialogue) -> None:
    requests = []
    for text in "ab":
        request = dialogue.send(text)
        answer(dialogue, request, "x")
        requests.append(request)
    requests.append(dialogue.regenerate())
    assert [request.settings.seed for request in requests] == [5, 6, 7]
    answer(dialogue, requests[2], "x")
    # One that was given counts up, and stays within what the engine takes.
    dialogue.seed = (1 << 63) - 1
    seeds = []
    for _ in range(2):
        request = dialogue.regenerate()
        answer(dialogue, request, "x")
        seeds.append(request.settings.seed)
        assert dialogue.last is not None and dialogue.last.setup is not None
        assert dialogue.last.setup.settings.seed == request.settings.seed
    assert seeds == [(1 << 63) - 1, 0]
    assert dialogue.regenerate(seed=99).settings.seed == 99
    assert dialogue.seed == (1 << 63) + 1


def test_messages_alternate_whatever_happens(dialogue: Dialogue, store: Store) -> None:
    with pytest.raises(PromptError, match="no message"):
        dialogue.regenerate()
    dialogue.send("a")
    dialogue.end("", "cancelled", "")
    assert said(dialogue) == ["a"]
    # A question without an answer makes way for the next one, and stays beside it.
    request = dialogue.send("b")
    assert [message.content for message in request.messages] == ["Be kind.", "b"]
    answer(dialogue, request, "one")
    assert [turn.text for turn in dialogue.tree.siblings(dialogue.tree.path()[0])] == ["a", "b"]
    # Another reply that comes to nothing leaves the first; a refused message is as if it had never been.
    dialogue.regenerate()
    dialogue.end(" \n", None, "It failed.")
    assert said(dialogue) == ["b", "one"]
    dialogue.send("c")
    dialogue.end("", None, "Too long.")
    dialogue.take_back(question=True)
    assert said(dialogue) == ["b", "one"]
    dialogue.send("waits")
    dialogue.take_back(question=True)
    assert (said(dialogue), dialogue.reply) == (["b", "one"], None)
    assert [turn.text for turn in kept(store, dialogue).tree.path()] == ["b", "one"]


def test_a_branch_that_comes_to_nothing_leads_back(dialogue: Dialogue) -> None:
    turn = answer(dialogue, dialogue.send("a"), "one two")
    other = answer(dialogue, dialogue.regenerate(), "three")
    request = dialogue.branch(turn, 1, Candidate(b"zwei", 0.1, 42))
    assert (request.prefix, request.forced_outcome) == (tuple(turn.steps[:1]), 42)
    assert dialogue.reply is not None
    assert (dialogue.reply.forked_from, dialogue.reply.fork) == (turn.id, 1)
    dialogue.end("", None, "No.")
    assert dialogue.last is turn
    assert dialogue.tree.siblings(turn) == [turn, other]


def cut_off(dialogue: Dialogue, text: str) -> Turn:
    turn = answer(dialogue, dialogue.send("a"), text, end=False)
    dialogue.end(text, "length", "")
    return turn


OTHER = Setup("other", "guide", "other")
GUIDE = replace(SETUP, settings=GenerationSettings(BlendSettings(method="guide")))


@pytest.mark.parametrize("setup", [OTHER, GUIDE])
def test_another_writer_is_given_bytes_and_never_outcomes(dialogue: Dialogue, setup: Setup) -> None:
    turn = answer(dialogue, dialogue.send("a"), "one two")
    dialogue.change(setup)
    request = dialogue.branch(turn, 1, Candidate(b" zwei", 0.1, 42))
    assert (request.forced_outcome, request.settings.blend) == (None, setup.settings.blend)
    assert request.prefix[:-1] == tuple(turn.steps[:1])
    chosen = request.prefix[-1]
    assert (chosen.index, chosen.data, chosen.source, chosen.outcome) == (1, b" zwei", Source.USER, -1)
    branch = answer(dialogue, request, " drei")
    assert (branch.forked_from, branch.fork, branch.text) == (turn.id, 1, "one  zwei drei")
    with pytest.raises(PromptError, match="can end it there"):
        dialogue.branch(turn, 1, Candidate(b"", 0.1, 7))
    assert (said(dialogue)[1], dialogue.reply) == (branch.text, None)
    # Another method with the same writer knows its outcomes.
    dialogue.change(replace(SETUP, settings=GenerationSettings(BlendSettings(method="nudge"))))
    assert dialogue.branch(turn, 1, Candidate(b"", 0.1, 7)).forced_outcome == 7


@pytest.mark.parametrize(("format", "begins"), [("auto", b"zwei"), ("raw", b" zwei")])
def test_the_space_after_a_prompt_is_not_said_twice(dialogue: Dialogue, format: str, begins: bytes) -> None:
    """A raw prompt has none, so there the space belongs to the reply."""
    turn = answer(dialogue, dialogue.send("a"), "one")
    dialogue.change(replace(OTHER, formats=Formats(format, "auto")))
    assert dialogue.branch(turn, 0, Candidate(b" zwei", 0.1, 42)).prefix[0].data == begins


def test_another_pair_continues_a_reply_beside_it(dialogue: Dialogue, store: Store) -> None:
    turn = cut_off(dialogue, "one two")
    steps = list(turn.steps)
    dialogue.change(OTHER)
    more = answer(dialogue, dialogue.continue_reply(turn), " three")
    assert dialogue.tree.siblings(turn) == [turn, more]
    assert (more.text, more.forked_from, more.fork) == ("one two three", turn.id, 2)
    assert more.setup is not None
    assert (more.setup.base, more.setup.pair) == ("other", "other")
    old = kept(store, dialogue).tree.turns[turn.id]
    assert old.setup is not None
    assert (old.text, old.finish_reason, old.setup.pair) == ("one two", "length", "pair")
    assert store.load_steps(turn.id) == turn.steps == steps


def test_a_continuation_that_is_refused_leaves_the_reply_as_it_was(dialogue: Dialogue, store: Store) -> None:
    turn = cut_off(dialogue, "one two")
    turn.finish_reason, turn.error = "cancelled", "It broke."
    dialogue.continue_reply(turn)
    assert dialogue.end("", None, "No room.") is turn
    # One that was begun has an end of its own.
    for each in (turn, kept(store, dialogue).tree.turns[turn.id]):
        assert (each.text, each.finish_reason, each.error) == ("one two", "cancelled", "It broke.")
    answer(dialogue, dialogue.continue_reply(turn), " three")
    assert (turn.text, turn.finish_reason, turn.error) == ("one two three", "stop", "")


def test_a_reply_that_came_to_its_end_is_not_continued(dialogue: Dialogue) -> None:
    turn = answer(dialogue, dialogue.send("a"), "one")
    for wrong in (turn, dialogue.tree.path()[0]):
        with pytest.raises(PromptError):
            dialogue.continue_reply(wrong)
    assert dialogue.reply is None


def test_damaged_steps_cost_the_figures_only(dialogue: Dialogue) -> None:
    def damaged(id: str) -> list[Step]:
        raise HistoryError("They are damaged.")

    dialogue._steps_of = damaged
    assert dialogue.steps(Turn("assistant", "text")) == []


def test_a_new_conversation_leaves_the_old_one_alone(dialogue: Dialogue, store: Store) -> None:
    answer(dialogue, dialogue.send("a"), "one")
    old = dialogue.id
    dialogue.restart()
    dialogue.rename("Named first")
    assert not store.list("Named")
    answer(dialogue, dialogue.send("b"), "two")
    assert kept(store, dialogue).title == "Named first"
    assert [turn.text for turn in store.open(old).tree.path()] == ["a", "one"]
    assert not dialogue.undo()
