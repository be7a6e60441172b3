"""Conversations in a database."""

from __future__ import annotations

from blendin_local.engine.steps import FinishReason, Source, Step
from blendin_local.history.records import summarize
from blendin_local.history.store import Store
from blendin_local.history.tree import Setup, Turn

SETUP = Setup("base.gguf", "guide.gguf", "demo", system="Be brief.")


def said(store: Store, id: str, *texts: str, setup: Setup = SETUP) -> list[Turn]:
    """A conversation of these messages, in turns."""
    store.create(id, setup)
    turns: list[Turn] = []
    for i, text in enumerate(texts):
        parent = turns[-1].id if turns else None
        role = "assistant" if i % 2 else "user"
        turns.append(Turn(role, text, parent, f"{id}{i}", created=float(i), finish_reason="stop"))
        store.save_turn(id, turns[-1])
    return turns


def reply(text: str, parent: str | None, finish_reason: FinishReason | None = "stop") -> Turn:
    turn = Turn("assistant", text, parent, setup=SETUP, finish_reason=finish_reason)
    turn.steps = steps_of(text)
    turn.summary = summarize(turn.steps)
    return turn


def steps_of(text: str) -> list[Step]:
    return [
        Step(index=i, data=f"{word} ".encode(), text=f"{word} ", source=Source.BASE, c_b=i / 3)
        for i, word in enumerate(text.split())
    ]


def found(store: Store, query: str) -> list[str]:
    return [listed.id for listed in store.list(query)]
