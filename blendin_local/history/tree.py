"""A conversation as a tree: every message that was ever part of it, and the path through it that is current.

Writing a message again, editing it, or branching at a token adds a sibling; nothing is overwritten. Pure
data: nothing here knows a database, a model or a user interface.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Literal

from blendin_local.engine.prompts import Message
from blendin_local.engine.steps import FinishReason, Step, Summary
from blendin_local.settings import Formats, GenerationSettings


def new_id() -> str:
    """A name that no other conversation or turn has, on this machine or another."""
    return uuid.uuid4().hex


@dataclass(frozen=True, slots=True)
class Setup:
    """What a reply is asked with, beside the messages before it.

    base, guide: as the user names them (a catalogue's name, a path, an `hf:` source). pair: the catalogue's
    name of both, or "".
    """

    base: str
    guide: str
    pair: str = ""
    system: str = ""
    settings: GenerationSettings = field(default_factory=GenerationSettings)
    formats: Formats = field(default_factory=Formats)


@dataclass(slots=True, eq=False)
class Turn:
    """One message of the tree; what follows `created` belongs to replies only.

    created: seconds since 1970. steps, summary: what the reply was made of, and its figures. setup: what it
    was asked with. finish_reason: None while it is being written, and where the program ended meanwhile.
    forked_from, fork: the reply that this one leaves, and the index of the first step that differs.
    dropped: how many old messages its prompt had no room for. models: "base" and "guide" with their
    fingerprints. calibrated: whether reliabilities are more than plain confidences.
    """

    role: Literal["user", "assistant"]
    text: str = ""
    parent: str | None = None
    id: str = field(default_factory=new_id)
    created: float = field(default_factory=time.time)
    steps: list[Step] = field(default_factory=list)
    summary: Summary = field(default_factory=Summary)
    setup: Setup | None = None
    finish_reason: FinishReason | None = None
    error: str = ""
    forked_from: str | None = None
    fork: int | None = None
    dropped: int = 0
    models: dict[str, str] = field(default_factory=dict)
    calibrated: bool = False

    @property
    def is_reply(self) -> bool:
        return self.role == "assistant"


StepsOf = Callable[[Turn], list[Step]]
"""Reads the steps of a reply, wherever they are."""


@dataclass(frozen=True, slots=True)
class Removal:
    """Turns taken out of a tree, and what `Tree.restore` needs to bring them back.

    moved: turns that took the place of a removed one, with the parent that they had before.
    """

    turns: tuple[Turn, ...]
    moved: tuple[tuple[Turn, str | None], ...]
    leaf: str | None


class Tree:
    """The turns of a conversation by id; siblings stand in the order of their creation.

    leaf: the id of the last turn of the current path, None for an empty conversation.
    """

    def __init__(self, turns: Iterable[Turn] = (), leaf: str | None = None) -> None:
        self.turns = {turn.id: turn for turn in sorted(turns, key=lambda turn: turn.created)}
        self.leaf = leaf if leaf in self.turns else None
        self._latest: dict[str | None, str] = {}
        """Of each parent, the child that was on the path last."""
        if self.leaf is None and self.turns:
            self.leaf = self._deepest(None)
        self._note_path()

    def copy(self) -> Tree:
        """The tree as it is now, for another thread: what is said and written meanwhile does not reach it."""
        return Tree((replace(turn, steps=list(turn.steps)) for turn in self.turns.values()), self.leaf)

    # Looking

    def path(self) -> list[Turn]:
        """The current turns, the first one first."""
        return self.upto(self.leaf)

    def upto(self, id: str | None) -> list[Turn]:
        """The turns from the first one to this one."""
        turns: list[Turn] = []
        while id is not None:
            turns.append(self.turns[id])
            id = turns[-1].parent
        return turns[::-1]

    def children(self, id: str | None) -> list[Turn]:
        return [turn for turn in self.turns.values() if turn.parent == id]

    def siblings(self, turn: Turn) -> list[Turn]:
        """The turns that could stand in this one's place, itself among them."""
        return self.children(turn.parent)

    def messages(self, id: str | None, system: str = "") -> tuple[Message, ...]:
        """The messages up to a turn as models read them, in turns: a question without an answer makes way."""
        turns = [turn for turn in self.upto(id) if not turn.is_reply or turn.text.strip()]
        said = [
            Message(turn.role, turn.text)
            for turn, following in zip(turns, [*turns[1:], None], strict=True)
            if turn.is_reply or following is None or following.is_reply
        ]
        return (Message("system", system), *said) if system.strip() else tuple(said)

    # Changing

    def add(self, turn: Turn) -> None:
        """Add a turn below its parent and make it the end of the path."""
        if turn.parent is not None and turn.parent not in self.turns:
            raise ValueError(f"turn {turn.id} has a parent that is not in the tree")
        self.turns[turn.id] = turn
        self.leaf = turn.id
        self._note_path()

    def select(self, turn: Turn) -> None:
        """Lead the path through this turn, and on as it was when it last did."""
        self.leaf = self._deepest(turn.id)
        self._note_path()

    def remove(self, turn: Turn) -> Removal:
        """Take out a reply with all that follows it; or a question with its answers, what follows moving up.

        Returns what `restore` takes to undo it.
        """
        leaf = self.leaf
        moved: list[tuple[Turn, str | None]] = []
        if turn.is_reply:
            gone = self._below(turn)
        else:
            gone = [turn, *(child for child in self.children(turn.id) if child.is_reply)]
            ids = {each.id for each in gone}
            moved = [(t, t.parent) for t in self.turns.values() if t.parent in ids and t.id not in ids]
        for each in gone:
            del self.turns[each.id]
        for each, _ in moved:
            each.parent = turn.parent
        if self.leaf not in self.turns:
            siblings = self.children(turn.parent)
            self.leaf = self._deepest(siblings[-1].id) if siblings else turn.parent
        self._note_path()
        return Removal(tuple(gone), tuple(moved), leaf)

    def restore(self, removal: Removal) -> None:
        """Undo a removal."""
        turns = [*self.turns.values(), *removal.turns]
        self.turns = {turn.id: turn for turn in sorted(turns, key=lambda turn: turn.created)}
        for turn, parent in removal.moved:
            turn.parent = parent
        self.leaf = removal.leaf
        self._note_path()

    def _below(self, turn: Turn) -> list[Turn]:
        found = [turn]
        for each in found:
            found += self.children(each.id)
        return found

    def _deepest(self, id: str | None) -> str | None:
        while children := self.children(id):
            latest = self._latest.get(id)
            id = latest if any(child.id == latest for child in children) else children[-1].id
        return id

    def _note_path(self) -> None:
        for turn in self.path():
            self._latest[turn.parent] = turn.id
