"""A conversation as a tree of all its messages, with a current path through it.

Regenerating or editing a message, or branching at a token, adds a sibling; nothing is overwritten. Pure data,
without database, model or user interface.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from blendin_local.engine.prompts import Message
from blendin_local.engine.steps import FinishReason, Step, Summary
from blendin_local.formats import Formats
from blendin_local.settings import GenerationSettings


def new_id() -> str:
    """Return a globally unique id of a conversation or turn."""
    return uuid.uuid4().hex


@dataclass(frozen=True, slots=True)
class Setup:
    """Models and settings of a reply.

    base, guide: as given by the user: a name of the catalogue, a path, or an `hf:` source. pair: the pair's
    name in the catalogue, or "".
    """

    base: str
    guide: str
    pair: str = ""
    system: str = ""
    settings: GenerationSettings = field(default_factory=GenerationSettings)
    formats: Formats = field(default_factory=Formats)


@dataclass(slots=True, eq=False)
class Turn:
    """One message of the tree; the fields after `created` belong to replies only.

    created: seconds since 1970. summary: metrics of the steps. finish_reason: None while the reply is being
    generated, and if the program ended meanwhile. forked_from, fork: id of the reply that this one branched
    from, and the index of the first step that differs. dropped: number of old messages left out of the
    prompt. models: vocabulary hashes of "base" and "guide". calibrated: whether reliabilities come from
    calibration curves.
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


def ids_in_cycles(parents: Mapping[str, str | None]) -> Iterator[str]:
    """Yield one turn of each cycle of parents. parents: of each turn, all of them turns themselves."""
    rooted: set[str | None] = {None}
    for id in parents:
        above: set[str] = set()
        place: str | None = id
        while place is not None and place not in rooted:
            if place in above:
                yield place
                break
            above.add(place)
            place = parents[place]
        rooted |= above


REPLY_FIELDS = ("finish_reason", "error", "forked_from", "fork", "dropped", "models", "calibrated")
"""Fields of a reply that are saved unconverted."""

StepsOf = Callable[[Turn], list[Step]]
"""Loads the steps of a reply."""


@dataclass(frozen=True, slots=True)
class Removal:
    """Turns removed from a tree, for `Tree.restore`.

    moved: turns that took the place of a removed one, with their former parents.
    """

    turns: tuple[Turn, ...]
    moved: tuple[tuple[Turn, str | None], ...]
    leaf: str | None


class Tree:
    """The turns of a conversation by id, in the order of their creation.

    leaf: id of the last turn of the current path; None for an empty conversation.
    """

    def __init__(self, turns: Iterable[Turn] = (), leaf: str | None = None) -> None:
        self.turns = {turn.id: turn for turn in sorted(turns, key=lambda turn: turn.created)}
        self.leaf = leaf if leaf in self.turns else None
        self._latest: dict[str | None, str] = {}
        """For each parent, the child that was last on the path."""
        if self.leaf is None and self.turns:
            self.leaf = self._deepest(None)
        self._note_path()

    def copy(self) -> Tree:
        """Copy the tree for another thread."""
        return Tree((replace(turn, steps=list(turn.steps)) for turn in self.turns.values()), self.leaf)

    # Reading

    def path(self) -> list[Turn]:
        """Return the turns of the current path, in order."""
        return self.upto(self.leaf)

    def upto(self, id: str | None) -> list[Turn]:
        """Return the turns from the root to this one."""
        turns: list[Turn] = []
        while id is not None:
            turns.append(self.turns[id])
            id = turns[-1].parent
        return turns[::-1]

    def children(self, id: str | None) -> list[Turn]:
        return [turn for turn in self.turns.values() if turn.parent == id]

    def siblings(self, turn: Turn) -> list[Turn]:
        """Return the turns with the same parent, including this one."""
        return self.children(turn.parent)

    def messages(self, id: str | None, system: str = "") -> tuple[Message, ...]:
        """Return the messages up to a turn with alternating roles: questions without an answer are left
        out.
        """
        turns = [turn for turn in self.upto(id) if not turn.is_reply or turn.text.strip()]
        said = [
            Message(turn.role, turn.text)
            for turn, following in zip(turns, [*turns[1:], None], strict=True)
            if turn.is_reply or following is None or following.is_reply
        ]
        return (Message("system", system), *said) if system.strip() else tuple(said)

    # Changing

    def add(self, turn: Turn) -> None:
        """Add a turn and make it the end of the path."""
        if turn.parent is not None and turn.parent not in self.turns:
            raise ValueError(f"turn {turn.id} has a parent that is not in the tree")
        self.turns[turn.id] = turn
        self.leaf = turn.id
        self._note_path()

    def select(self, turn: Turn) -> None:
        """Lead the path through this turn and on to its latest descendants."""
        self.leaf = self._deepest(turn.id)
        self._note_path()

    def remove(self, turn: Turn) -> Removal:
        """Remove a reply with all that follows, or a question with its answers, whose followers move up.

        Returns the argument of `restore`.
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
