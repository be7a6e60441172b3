"""The conversation that the app shows: its tree, what each key does to it, and what is kept of it.

Every act that wants a reply returns its `ReplyRequest`. Nothing here knows Textual or a thread.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from copy import copy
from dataclasses import replace
from itertools import takewhile

from blendin_local.engine.chat_backend import ChatBackend, ReplyRequest, ReplyStream
from blendin_local.engine.steps import Candidate, FinishReason, Source, Step, Summary
from blendin_local.errors import HistoryError, PromptError
from blendin_local.history.journal import Journal
from blendin_local.history.schema import first_line
from blendin_local.history.store import SavedConversation, Store
from blendin_local.history.tree import Removal, Setup, Tree, Turn, new_id
from blendin_local.methods import METHODS


class Dialogue:
    """setup: how the next reply will be asked for; change it between replies.

    steps_of: reads the steps of a kept reply by its id. seed: of the first reply, one more for each after
    it; None draws every reply anew.
    """

    def __init__(
        self,
        setup: Setup,
        journal: Journal,
        *,
        steps_of: Callable[[str], list[Step]] = lambda id: [],
        seed: int | None = None,
        candidates: int = 8,
        fresh_seed: Callable[[], int] = lambda: secrets.randbits(31),
    ) -> None:
        self.setup = setup
        self.seed = seed
        self.candidates = candidates
        self.journal = journal
        self.tree = Tree()
        self.id = new_id()
        self.title = ""
        self.reply: Turn | None = None
        self.removals: list[Removal] = []
        self._steps_of = steps_of
        self._fresh_seed = fresh_seed
        self._kept = False
        self._handed = 0
        self._before: tuple[FinishReason | None, str] | None = None

    # What is there

    @property
    def last(self) -> Turn | None:
        path = self.tree.path()
        return path[-1] if path else None

    @property
    def replies(self) -> list[Turn]:
        """The replies of the current path."""
        return [turn for turn in self.tree.path() if turn.is_reply]

    def question_of(self, turn: Turn) -> Turn:
        """Return the question that a reply answers; of a question, itself."""
        return self.tree.turns[turn.parent] if turn.is_reply and turn.parent else turn

    def steps(self, turn: Turn) -> list[Step]:
        """Return the steps of a reply, read when they are first wanted; none where what was kept is
        damaged.
        """
        if turn.is_reply and not turn.steps:
            with suppress(HistoryError):
                turn.steps = self._steps_of(turn.id)
        return turn.steps

    # What wants a reply

    def send(self, text: str) -> ReplyRequest:
        """Say something at the end of the current path."""
        return self._request_below(self.question(text))

    def question(self, text: str) -> Turn:
        """Say something without asking for a reply yet."""
        last = self.last
        # Chat templates want question and answer in turn: a question without an answer gets a sibling.
        return self._said(text, last.parent if last is not None and not last.is_reply else self.tree.leaf)

    def take_back(self, *, question: bool) -> None:
        """Undo what began the reply that was just asked for, before any of it; question: its message too."""
        reply, self.reply = self.reply, None
        last = reply if reply is not None and reply.id in self.tree.turns else self.last
        if last is None:
            return
        if last.is_reply and not last.text:
            self._discard(last)
            last = self.tree.turns.get(last.parent or "")
        if question and last is not None and not last.is_reply and not self.tree.children(last.id):
            self._discard(last)

    def _discard(self, turn: Turn) -> None:
        """Take out a turn of which nothing came."""
        removal = self.tree.remove(turn)
        if turn.forked_from in self.tree.turns:
            self.tree.select(self.tree.turns[turn.forked_from])
        self._keep_removal(removal)

    def edit(self, turn: Turn, text: str) -> ReplyRequest | None:
        """Say a message differently, beside the old one; a reply that is changed wants no new reply."""
        if not turn.is_reply:
            return self._request_below(self._said(text, turn.parent))
        written = Step(index=0, data=text.encode(), text=text, source=Source.USER)
        changed = Turn("assistant", text, turn.parent, steps=[written], setup=turn.setup)
        changed.forked_from, changed.fork, changed.finish_reason = turn.id, 0, "cancelled"
        changed.summary.take_over(written)
        self._add(changed)
        self._keep(lambda store, _: store.append_steps(changed.id, 0, [written], text))
        return None

    def again(self, turn: Turn | None = None, *, seed: int | None = None) -> ReplyRequest:
        """Answer the last question, or that of a reply, once more; seed: not the next one, but this."""
        turn = turn or self.last
        if turn is None:
            raise PromptError("There is no message to reply to yet.")
        self._begin(self.question_of(turn).id, seed=seed)
        return self._request(self._current)

    def go_on(self, turn: Turn) -> ReplyRequest:
        """Write a reply on that was cut off. Raises PromptError for one that came to its own end."""
        if not turn.is_reply or not self.steps(turn):
            raise PromptError("There is nothing that could be continued.")
        if turn.steps[-1].source is Source.STOP or turn.finish_reason in ("stop", "stop string"):
            raise PromptError(
                "This reply came to its own end: to go on all the same, branch at its last token."
            )
        prefix = tuple(turn.steps)
        if not self._same_pair(turn):
            # What other models say is another reply: this one stays what it was.
            self._begin(turn.parent, forked_from=turn.id, fork=len(prefix))
            return self._request(self._current, prefix=prefix)
        self.tree.select(turn)
        self.reply, self._handed = turn, len(prefix)
        self._before = turn.finish_reason, turn.error
        turn.finish_reason = None
        self._save(turn)
        return self._request(turn, prefix=prefix)

    def branch(self, turn: Turn, index: int, candidate: Candidate) -> ReplyRequest:
        """Write a reply anew from a step on, with a candidate there; the old one stays beside it.

        Raises PromptError where the reply shall end there, and what writes now is not what wrote it.
        """
        prefix = tuple(self.steps(turn)[:index])
        forced_outcome: int | None = candidate.outcome
        if not (self._same_pair(turn) and self._writer(turn.setup) == self._writer(self.setup)):
            # An outcome is a number that only its writer knows; its bytes are understood by all.
            if not candidate.data:
                raise PromptError("Only the models and the method that wrote this reply can end it there.")
            # The space after a prompt is no part of a reply, except where a reply goes on the prompt's text.
            begins = not prefix and getattr(self.setup.formats, self._writer(self.setup)) != "raw"
            data = candidate.data.removeprefix(b" ") if begins else candidate.data
            text = data.decode("utf-8", "replace")
            prefix = (*prefix, Step(index=index, data=data, text=text, source=Source.USER))
            forced_outcome = None
        self._begin(turn.parent, forked_from=turn.id, fork=index)
        return self._request(self._current, prefix=prefix, forced_outcome=forced_outcome)

    def _same_pair(self, turn: Turn) -> bool:
        """Return whether a reply was written by the models that are there now."""
        own, now = turn.setup, self.setup
        return own is not None and (own.base, own.guide) == (now.base, now.guide)

    @staticmethod
    def _writer(setup: Setup | None) -> str:
        return METHODS[setup.settings.blend.method].writer if setup else ""

    # While a reply is written

    def begun(self, reply: ReplyStream, chat: ChatBackend) -> None:
        """The models have taken the prompt."""
        turn, self._before = self._current, None
        # Where a reply is continued, its last step is no end any more.
        same = takewhile(lambda pair: pair[0] == pair[1], zip(turn.steps, reply.prefix, strict=False))
        self._handed = min(self._handed, len(list(same)))
        turn.steps = list(reply.prefix)
        turn.text = "".join(step.text for step in reply.prefix)
        turn.summary = reply.summary
        turn.dropped = reply.dropped_messages
        turn.models = dict(chat.models)
        turn.calibrated = chat.calibrated
        # The models' thread is counting in the summary already; of an unfinished reply it is made from steps.
        self._save(turn, Summary())

    def take(self, steps: Sequence[Step]) -> None:
        turn = self._current
        turn.steps += steps
        turn.text += "".join(step.text for step in steps)

    def checkpoint(self) -> None:
        """Hand what was written since the last time over to be kept."""
        turn = self.reply
        if turn is None or self._handed == len(turn.steps):
            return
        first, steps, text = self._handed, turn.steps[self._handed :], turn.text
        self._handed = len(turn.steps)
        self._keep(lambda store, _: store.append_steps(turn.id, first, steps, text))

    def end(self, text: str, finish_reason: FinishReason | None, error: str) -> Turn | None:
        """Return the reply is over; returns it, or None where nothing came of it and it is gone."""
        turn = self._current
        self.checkpoint()
        self.reply = None
        turn.text = text or turn.text
        turn.finish_reason = finish_reason or "cancelled"
        turn.error = error
        if self._before is not None:
            # It was to be continued, and nothing came of it.
            (turn.finish_reason, turn.error), self._before = self._before, None
        if not turn.text.strip():
            self._discard(turn)
            return None
        self._save(turn)
        return turn

    # What else happens to messages

    def select(self, turn: Turn) -> None:
        """Lead the conversation through a sibling."""
        self.tree.select(turn)
        self._keep_leaf()

    def sibling(self, turn: Turn, direction: int) -> Turn | None:
        """Return the sibling before or after this one, None at the end of the row."""
        siblings = self.tree.siblings(turn)
        place = siblings.index(turn) + direction
        return siblings[place] if 0 <= place < len(siblings) else None

    def remove(self, turn: Turn) -> None:
        """Delete a message: see `Tree.remove`."""
        removal = self.tree.remove(turn)
        self.removals.append(removal)
        self._keep_removal(removal)

    def undo(self) -> bool:
        """Bring the last deleted message back; False where there is none."""
        if not self.removals:
            return False
        removal = self.removals.pop()
        self.tree.restore(removal)
        self._keep(lambda store, id: store.restore(id, removal))
        return True

    def rename(self, title: str) -> None:
        self.title = title.strip() or self.title
        title = self.title
        self._keep(lambda store, id: store.set_title(id, title))

    def change(self, setup: Setup) -> None:
        """ReplyRequest for the next replies differently."""
        self.setup = setup
        self._keep(lambda store, id: store.set_setup(id, setup))

    # Conversations

    def restart(self) -> None:
        """Begin a new conversation; the old one stays kept."""
        self.tree, self.id, self.title, self._kept, self.removals = Tree(), new_id(), "", False, []

    def resume(self, kept: SavedConversation, loaded: Setup) -> None:
        """Go on with a conversation that was kept, but with the models that are loaded."""
        self.restart()
        self.id, self.title, self.tree, self._kept = kept.id, kept.title, kept.tree, True
        self.setup = replace(
            kept.setup, base=loaded.base, guide=loaded.guide, pair=loaded.pair, formats=loaded.formats
        )

    # In detail

    @property
    def _current(self) -> Turn:
        assert self.reply is not None
        return self.reply

    def _said(self, text: str, parent: str | None) -> Turn:
        turn = Turn("user", text, parent)
        if not self._kept:
            self._kept, setup = True, self.setup
            self._keep(lambda store, id: store.create(id, setup))
            if self.title:
                self.rename(self.title)
            self.title = self.title or first_line(text)
        self._add(turn)
        return turn

    def _add(self, turn: Turn) -> None:
        self.tree.add(turn)
        self._save(turn)

    def _save(self, turn: Turn, summary: Summary | None = None) -> None:
        # The turn itself goes on changing.
        now = copy(turn)
        now.summary = summary or turn.summary
        self._keep(lambda store, id: store.save_turn(id, now))

    def _keep_leaf(self) -> None:
        leaf = self.tree.leaf
        self._keep(lambda store, id: store.set_leaf(id, leaf))

    def _keep_removal(self, removal: Removal) -> None:
        leaf = self.tree.leaf
        self._keep(lambda store, id: store.remove(id, removal, leaf))

    def _keep(self, call: Callable[[Store, str], object]) -> None:
        """Have the journal do this to the conversation, unless there is nothing of it yet."""
        id = self.id
        if self._kept:
            self.journal.put(lambda store: call(store, id))

    def _request_below(self, question: Turn) -> ReplyRequest:
        self._begin(question.id)
        return self._request(self._current)

    def _begin(
        self,
        parent: str | None,
        *,
        forked_from: str | None = None,
        fork: int | None = None,
        seed: int | None = None,
    ) -> None:
        settings = replace(self.setup.settings, seed=self._next_seed() if seed is None else seed)
        turn = Turn("assistant", parent=parent, forked_from=forked_from, fork=fork)
        turn.setup = replace(self.setup, settings=settings)
        self._add(turn)
        self.reply, self._handed = turn, 0

    def _next_seed(self) -> int:
        if self.seed is None:
            return self._fresh_seed()
        self.seed += 1
        return (self.seed - 1) % (1 << 63)

    def _request(
        self, turn: Turn, prefix: tuple[Step, ...] = (), forced_outcome: int | None = None
    ) -> ReplyRequest:
        setup = turn.setup or self.setup
        messages = self.tree.messages(turn.parent, setup.system)
        return ReplyRequest(messages, setup.settings, prefix, forced_outcome, self.candidates)
