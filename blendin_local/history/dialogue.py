"""Apply the user's actions to the conversation of the chat, and save every change through the journal.

Actions that need a reply return its `ReplyRequest`. Independent of Textual and of threads.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from copy import copy
from dataclasses import replace
from itertools import takewhile

from blendin_local.engine.chat_backend import ChatBackend, ReplyRequest, ReplyStream
from blendin_local.engine.steps import Candidate, FinishReason, Source, Step, Summary, answer_text
from blendin_local.errors import HistoryError, PromptError
from blendin_local.history.journal import Journal
from blendin_local.history.schema import first_line
from blendin_local.history.store import SavedConversation, Store
from blendin_local.history.tree import Removal, Setup, Tree, Turn, new_id
from blendin_local.methods import METHODS


class Dialogue:
    """A conversation in progress.

    setup: models and settings of the next reply. steps_of: loads the steps of a saved reply by its id. seed:
    the seed of the first reply, incremented for each later one; None draws a new seed for each. reply: the
    reply being written, or None. removals: deleted messages that `undo` can restore.
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
        self._is_saved = False
        self._n_saved = 0
        self._before: tuple[FinishReason | None, str] | None = None

    # Reading

    @property
    def last(self) -> Turn | None:
        path = self.tree.path()
        return path[-1] if path else None

    @property
    def replies(self) -> list[Turn]:
        """The replies of the current path."""
        return [turn for turn in self.tree.path() if turn.is_reply]

    def question_of(self, turn: Turn) -> Turn:
        """Return the question that a reply answers, or the turn itself if it is a question."""
        return self.tree.turns[turn.parent] if turn.is_reply and turn.parent else turn

    def steps(self, turn: Turn) -> list[Step]:
        """Return the steps of a reply, loaded on first access; none if the saved data is damaged."""
        if turn.is_reply and not turn.steps:
            with suppress(HistoryError):
                turn.steps = self._steps_of(turn.id)
        return turn.steps

    # Actions that request a reply

    def send(self, text: str) -> ReplyRequest:
        """Add a question at the end of the current path and request its reply."""
        return self._request_below(self.question(text))

    def question(self, text: str) -> Turn:
        """Add a question at the end of the current path without requesting a reply."""
        last = self.last
        # Chat templates require alternating roles: a question without an answer gets a sibling.
        return self._add_question(
            text, last.parent if last is not None and not last.is_reply else self.tree.leaf
        )

    def take_back(self, *, question: bool) -> None:
        """Remove the requested reply, which has no text yet, and with `question` also its question."""
        reply, self.reply = self.reply, None
        last = reply if reply is not None and reply.id in self.tree.turns else self.last
        if last is None:
            return
        if last.is_reply and not last.steps and not last.text:
            self._discard(last)
            last = self.tree.turns.get(last.parent or "")
        if question and last is not None and not last.is_reply and not self.tree.children(last.id):
            self._discard(last)

    def _discard(self, turn: Turn) -> None:
        """Remove an empty turn and select the reply that it was forked from."""
        removal = self.tree.remove(turn)
        if turn.forked_from in self.tree.turns:
            self.tree.select(self.tree.turns[turn.forked_from])
        self._save_removal(removal)

    def edit(self, turn: Turn, text: str) -> ReplyRequest | None:
        """Add an edited message as a sibling; requests a reply only if it is a question."""
        if not turn.is_reply:
            return self._request_below(self._add_question(text, turn.parent))
        written = Step(index=0, data=text.encode(), text=text, source=Source.USER)
        changed = Turn("assistant", text, turn.parent, steps=[written], setup=turn.setup)
        changed.forked_from, changed.fork, changed.finish_reason = turn.id, 0, "cancelled"
        changed.summary.take_over(written)
        self._add(changed)
        self._enqueue(lambda store, _: store.append_steps(changed.id, 0, [written], text))
        return None

    def regenerate(self, turn: Turn | None = None, *, seed: int | None = None) -> ReplyRequest:
        """Request another reply to the last question, or to that of a turn. seed: overrides the next seed."""
        turn = turn or self.last
        if turn is None:
            raise PromptError("There is no message to reply to yet.")
        self._add_reply(self.question_of(turn).id, seed=seed)
        return self._request(self._current)

    def continue_reply(self, turn: Turn) -> ReplyRequest:
        """Continue a reply that was cut off. Raises PromptError if the model had ended it."""
        if not turn.is_reply or not self.steps(turn):
            raise PromptError("There is no reply to continue.")
        if turn.steps[-1].source is Source.STOP or turn.finish_reason in ("stop", "stop string"):
            raise PromptError(
                "The model ended this reply: to continue it nevertheless, branch at its last token."
            )
        prefix = tuple(turn.steps)
        if not self._same_pair(turn):
            # Another pair continues in a sibling; this reply is unchanged.
            self._add_reply(turn.parent, forked_from=turn.id, fork=len(prefix))
            return self._request(self._current, prefix=prefix)
        self.tree.select(turn)
        self.reply, self._n_saved = turn, len(prefix)
        self._before = turn.finish_reason, turn.error
        turn.finish_reason = None
        self._save(turn)
        return self._request(turn, prefix=prefix)

    def branch(self, turn: Turn, index: int, candidate: Candidate) -> ReplyRequest:
        """Request a sibling of a reply that differs from a step on, where a candidate is forced.

        Raises PromptError if the candidate is the stop, and another pair or method wrote the reply.
        """
        prefix = tuple(self.steps(turn)[:index])
        forced_outcome: int | None = candidate.outcome
        if not (self._same_pair(turn) and self._writer(turn.setup) == self._writer(self.setup)):
            # Outcome numbers are valid for the same writer only; bytes are valid for all.
            if not candidate.data:
                raise PromptError("Only the models and the method that wrote this reply can end it there.")
            # The space after a prompt is not part of the reply, unless the reply continues raw text.
            begins = not prefix and getattr(self.setup.formats, self._writer(self.setup)) != "raw"
            data = candidate.data.removeprefix(b" ") if begins else candidate.data
            text = data.decode("utf-8", "replace")
            prefix = (*prefix, Step(index=index, data=data, text=text, source=Source.USER))
            forced_outcome = None
        self._add_reply(turn.parent, forked_from=turn.id, fork=index)
        return self._request(self._current, prefix=prefix, forced_outcome=forced_outcome)

    def _same_pair(self, turn: Turn) -> bool:
        """Return whether the current pair wrote a reply."""
        own, now = turn.setup, self.setup
        return own is not None and (own.base, own.guide) == (now.base, now.guide)

    @staticmethod
    def _writer(setup: Setup | None) -> str:
        return METHODS[setup.settings.blend.method].writer if setup else ""

    # The reply being written

    def start_reply(self, reply: ReplyStream, chat: ChatBackend) -> None:
        """Initialize the reply from its stream, once the models have accepted the prompt."""
        turn, self._before = self._current, None
        # A continued reply loses its stop, so fewer steps than saved may be unchanged.
        same = takewhile(lambda pair: pair[0] == pair[1], zip(turn.steps, reply.prefix, strict=False))
        self._n_saved = min(self._n_saved, len(list(same)))
        turn.steps = list(reply.prefix)
        turn.text = answer_text(reply.prefix)
        turn.summary = reply.summary
        turn.dropped = reply.dropped_messages
        turn.models = dict(chat.models)
        turn.calibrated = chat.calibrated
        # The models' thread already updates the summary; loading recomputes it for an unfinished reply.
        self._save(turn, Summary())

    def append_steps(self, steps: Sequence[Step]) -> None:
        turn = self._current
        turn.steps += steps
        turn.text += answer_text(steps)

    def checkpoint(self) -> None:
        """Save the steps since the last checkpoint."""
        turn = self.reply
        if turn is None or self._n_saved == len(turn.steps):
            return
        first, steps, text = self._n_saved, turn.steps[self._n_saved :], turn.text
        self._n_saved = len(turn.steps)
        self._enqueue(lambda store, _: store.append_steps(turn.id, first, steps, text))

    def end(self, text: str, finish_reason: FinishReason | None, error: str) -> Turn | None:
        """Finish the reply and return it; remove it and return None if it is empty."""
        turn = self._current
        self.checkpoint()
        self.reply = None
        turn.text = text or turn.text
        turn.finish_reason = finish_reason or "cancelled"
        turn.error = error
        if self._before is not None:
            # The continuation failed before its first step: restore the former end.
            (turn.finish_reason, turn.error), self._before = self._before, None
        if not turn.text.strip() and not any(step.thinking for step in turn.steps):
            self._discard(turn)
            return None
        self._save(turn)
        return turn

    # Other actions

    def select(self, turn: Turn) -> None:
        """Lead the current path through a turn."""
        self.tree.select(turn)
        self._save_leaf()

    def sibling(self, turn: Turn, direction: int) -> Turn | None:
        """Return the sibling at an offset of -1 or 1, or None."""
        siblings = self.tree.siblings(turn)
        place = siblings.index(turn) + direction
        return siblings[place] if 0 <= place < len(siblings) else None

    def remove(self, turn: Turn) -> None:
        """Delete a message: see `Tree.remove`."""
        removal = self.tree.remove(turn)
        self.removals.append(removal)
        self._save_removal(removal)

    def undo(self) -> bool:
        """Restore the last deleted message; return False if there is none."""
        if not self.removals:
            return False
        removal = self.removals.pop()
        self.tree.restore(removal)
        self._enqueue(lambda store, id: store.restore(id, removal))
        return True

    def rename(self, title: str) -> None:
        self.title = title.strip() or self.title
        title = self.title
        self._enqueue(lambda store, id: store.set_title(id, title))

    def change(self, setup: Setup) -> None:
        """Change models and settings of the next replies."""
        self.setup = setup
        self._enqueue(lambda store, id: store.set_setup(id, setup))

    # Conversations

    def restart(self) -> None:
        """Begin a new conversation."""
        self.tree, self.id, self.title, self._is_saved, self.removals = Tree(), new_id(), "", False, []

    def resume(self, kept: SavedConversation, loaded: Setup) -> None:
        """Open a saved conversation, with the models that are loaded."""
        self.restart()
        self.id, self.title, self.tree, self._is_saved = kept.id, kept.title, kept.tree, True
        self.setup = replace(
            kept.setup, base=loaded.base, guide=loaded.guide, pair=loaded.pair, formats=loaded.formats
        )

    # Helpers

    @property
    def _current(self) -> Turn:
        assert self.reply is not None
        return self.reply

    def _add_question(self, text: str, parent: str | None) -> Turn:
        turn = Turn("user", text, parent)
        if not self._is_saved:
            self._is_saved, setup = True, self.setup
            self._enqueue(lambda store, id: store.create(id, setup))
            if self.title:
                self.rename(self.title)
            self.title = self.title or first_line(text)
        self._add(turn)
        return turn

    def _add(self, turn: Turn) -> None:
        self.tree.add(turn)
        self._save(turn)

    def _save(self, turn: Turn, summary: Summary | None = None) -> None:
        # A copy, because the turn may change before the journal saves it.
        now = copy(turn)
        now.summary = summary or turn.summary
        self._enqueue(lambda store, id: store.save_turn(id, now))

    def _save_leaf(self) -> None:
        leaf = self.tree.leaf
        self._enqueue(lambda store, id: store.set_leaf(id, leaf))

    def _save_removal(self, removal: Removal) -> None:
        leaf = self.tree.leaf
        self._enqueue(lambda store, id: store.remove(id, removal, leaf))

    def _enqueue(self, call: Callable[[Store, str], object]) -> None:
        """Queue a call for the conversation in the journal, unless it is empty and not saved."""
        id = self.id
        if self._is_saved:
            self.journal.put(lambda store: call(store, id))

    def _request_below(self, question: Turn) -> ReplyRequest:
        self._add_reply(question.id)
        return self._request(self._current)

    def _add_reply(
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
        self.reply, self._n_saved = turn, 0

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
