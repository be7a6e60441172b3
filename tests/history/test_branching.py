"""Branches under other writers, by two tiny models: what was offered is what stands there, to the byte."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from support.tiny_gguf import write_tiny

from blendin_local.engine.chat_backend import PairBackend, ReplyRequest
from blendin_local.engine.pair import pair_models
from blendin_local.engine.prompts import PLAIN_FORMATS
from blendin_local.engine.steps import Candidate, Source
from blendin_local.errors import PromptError
from blendin_local.history.dialogue import Dialogue
from blendin_local.history.journal import Journal
from blendin_local.history.tree import Setup, Turn
from blendin_local.llamacpp.model import GgufModel, open_model
from blendin_local.settings import BlendSettings, GenerationSettings, ModelOptions

PLAIN = PLAIN_FORMATS["user-assistant"]
Chats = Callable[[Setup], PairBackend]


@pytest.fixture(scope="module")
def chats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chats]:
    """What answers under a setup: a pair of two vocabularies, and the same two the other way round."""
    folder = tmp_path_factory.mktemp("tiny")
    files = {
        "one": write_tiny(folder / "one.gguf", seed=1),
        "two": write_tiny(folder / "two.gguf", vocabulary="bpe", seed=2),
    }
    models: dict[tuple[str, str], GgufModel] = {}

    def model(name: str, role: str) -> GgufModel:
        if (name, role) not in models:
            models[name, role] = open_model(files[name], ModelOptions(n_ctx=256, n_threads=1))
        return models[name, role]

    def chat(setup: Setup) -> PairBackend:
        pair = pair_models(model(setup.base, "base"), model(setup.guide, "guide"))
        return PairBackend(pair, {"base": PLAIN, "guide": PLAIN})

    yield chat
    for each in models.values():
        each.close()


def asked_of(base: str, guide: str, method: str) -> Setup:
    blend = BlendSettings(method=method, gamma=0.9, guide_stop=False)
    return Setup(base, guide, settings=GenerationSettings(blend, max_tokens=6))


def answered(dialogue: Dialogue, chats: Chats, request: ReplyRequest) -> Turn:
    chat, turn = chats(dialogue.setup), dialogue.reply
    assert turn is not None
    reply = chat.write(request)
    dialogue.start_reply(reply, chat)
    dialogue.append_steps(list(reply))
    dialogue.end(reply.text, reply.finish_reason, "")
    return turn


def offered(turn: Turn, index: int) -> list[Candidate]:
    """What could stand in the place of a step: whole characters that are no space alone."""
    candidates = turn.steps[index].candidates
    assert candidates is not None
    each = (*candidates.base, *candidates.guide, *candidates.blend)
    return [one for one in each if one.outcome >= 0 and one.data.decode("utf-8", "ignore").strip()]


WRITERS = (
    asked_of("one", "two", "base"),
    asked_of("one", "two", "guide"),
    asked_of("one", "two", "blendin"),
    asked_of("two", "one", "blendin"),
)


@pytest.mark.parametrize(("was", "now"), list(itertools.permutations(WRITERS, 2)))
@pytest.mark.parametrize("index", [0, 3])
def test_a_branch_writes_the_bytes_that_were_offered(
    chats: Chats, was: Setup, now: Setup, index: int
) -> None:
    dialogue = Dialogue(was, Journal(None), seed=1)
    turn = answered(dialogue, chats, dialogue.send("hello world"))
    before = b"".join(step.data for step in turn.steps[:index])
    dialogue.change(now)
    for candidate in offered(turn, index)[::3]:
        branch = answered(dialogue, chats, dialogue.branch(turn, index, candidate))
        chosen = branch.steps[index]
        data = candidate.data if index else candidate.data.removeprefix(b" ")
        assert (chosen.data, chosen.source, chosen.index) == (data, Source.USER, index)
        assert branch.text.encode().startswith(before + data)
        assert len(branch.steps) > index + 1


def test_an_outcome_is_forced_where_its_writer_goes_on(chats: Chats) -> None:
    base, guide, blendin, _ = WRITERS
    dialogue = Dialogue(base, Journal(None), seed=1)
    turn = answered(dialogue, chats, dialogue.send("hello world"))
    stop = Candidate(b"", 0.1, 7)
    dialogue.change(blendin)
    for candidate in (stop, offered(turn, 2)[0]):
        request = dialogue.branch(turn, 2, candidate)
        assert (request.prefix, request.forced_outcome) == (tuple(turn.steps[:2]), candidate.outcome)
        dialogue.end("", None, "")
    for other in (guide, replace(base, guide="another")):
        dialogue.change(other)
        with pytest.raises(PromptError, match="can end it there"):
            dialogue.branch(turn, 2, stop)
        assert dialogue.last is turn
