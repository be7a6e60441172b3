"""Conversations with a tiny pair: caches kept over turns, old turns dropped, nothing lost by a failure."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.examples import examples
from support.tiny_gguf import Architecture, Kind, write_tiny

from blendin_local.engine.conversation import Conversation, Reply, _first_that_fits, begin_reply
from blendin_local.engine.language_model import Cancellation, common_prefix
from blendin_local.engine.pair import Pair, Role, pair_models
from blendin_local.engine.prompts import PLAIN_FORMATS, Message, PromptFormat, make_prompt
from blendin_local.engine.steps import Source, Step
from blendin_local.errors import PromptError
from blendin_local.llamacpp.model import open_model
from blendin_local.settings import BlendSettings, GenerationSettings, ModelOptions, SamplingSettings

# As exact as llama.cpp gets, so that a reused cache and a fresh one choose alike.
EXACT = ModelOptions(n_ctx=512, kv_type="f32", flash_attention="off", n_threads=1, n_gpu_layers=0)
SMALL_WINDOW: dict[str, Any] = {"swa_full": False, "n_batch": 64}

QUESTION_ANSWER = PLAIN_FORMATS["question-answer"]
CHATML = PromptFormat(
    "chatml",
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{{ '<|im_start|>assistant\n' }}",
)
BROKEN = PromptFormat("broken", "{{ raise_exception('This format is not to be used') }}")
SYSTEM = "You are one of the people who know the winter and the summer of this world. " * 3
QUESTIONS = ("What is the capital of France?", "And the language?", "Who were the first people there?")

Write = Callable[[Architecture, Kind], Path]
Start = Callable[..., Conversation]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Write:
    """A model of an architecture and a vocabulary that hardly ever stops by itself."""
    folder = tmp_path_factory.mktemp("tiny")

    @cache
    def write(arch: Architecture, kind: Kind) -> Path:
        ends = ("<|im_end|>", "<|endoftext|>") if kind == "bpe" else ("<eos>", "<end_of_turn>")
        bias = dict.fromkeys(ends, -100.0)
        seed = 1 if kind == "bpe" else 0
        return write_tiny(folder / f"{arch}-{kind}.gguf", arch=arch, vocabulary=kind, seed=seed, bias=bias)

    return write


@contextmanager
def open_pair(base: Path, guide: Path, **changes: Any) -> Iterator[Pair]:
    options = replace(EXACT, **changes)
    with closing(open_model(base, options)) as first, closing(open_model(guide, options)) as second:
        yield pair_models(first, second)


@pytest.fixture
def start(tiny: Write) -> Iterator[Start]:
    """A new conversation with a pair of its own: plain text for the base, ChatML for the guide."""
    opened: list[Any] = []

    def begin(
        settings: GenerationSettings | None = None,
        *,
        base_format: PromptFormat = QUESTION_ANSWER,
        guide_format: PromptFormat = CHATML,
        architectures: tuple[Architecture, Architecture] = ("llama", "llama"),
        **changes: Any,
    ) -> Conversation:
        manager = open_pair(tiny(architectures[0], "spm"), tiny(architectures[1], "bpe"), **changes)
        opened.append(manager)
        return Conversation(
            manager.__enter__(), {"base": base_format, "guide": guide_format}, settings or written()
        )

    yield begin
    for manager in opened:
        manager.__exit__(None, None, None)


def written(max_tokens: int = 12, method: str = "blendin", **blend: Any) -> GenerationSettings:
    """Greedy settings; the guide is never asked about stopping alone."""
    return GenerationSettings(BlendSettings(method, guide_stop=False, **blend), max_tokens=max_tokens)


def finish(reply: Reply) -> Reply:
    for _ in reply:
        pass
    return reply


def take_turn(conversation: Conversation, text: str) -> Reply:
    reply = finish(conversation.send(text))
    conversation.keep(reply)
    return reply


def prompt_of(conversation: Conversation, role: Role, messages: Sequence[Message]) -> list[int]:
    return make_prompt(conversation.pair.model(role), conversation.formats[role], messages).tokens


# Turns


def test_messages_of_a_conversation(start: Start) -> None:
    conversation = start()
    conversation.set_system("Be brief.")
    replies = [take_turn(conversation, question) for question in QUESTIONS]
    expected = [Message("system", "Be brief.")]
    for question, reply in zip(QUESTIONS, replies, strict=True):
        expected += [Message("user", question), Message("assistant", reply.text)]
        assert reply.text
        assert reply.finish_reason == "length"
        assert reply.dropped_messages == 0
    assert conversation.messages == expected


def test_a_reply_is_the_text_of_its_steps(start: Start) -> None:
    conversation = start()
    reply = conversation.send(QUESTIONS[0])
    assert (reply.text, reply.finish_reason) == ("", None)
    steps = list(reply)
    assert len(steps) == reply.summary.steps == 12
    assert reply.text == "".join(step.text for step in steps)
    assert steps[-1].finish_reason == reply.finish_reason == reply.summary.finish_reason == "length"
    assert conversation.messages == [Message("user", QUESTIONS[0])], "a reply is kept when one says so"


def test_later_turns_decode_only_what_is_new(start: Start) -> None:
    conversation = start(written(max_tokens=10, method="ensemble"))
    conversation.set_system(SYSTEM)
    base, guide = conversation.pair.base, conversation.pair.guide
    for number, question in enumerate(QUESTIONS):
        held = {"base": list(base.cached(0)), "guide": list(guide.cached(0))}
        reply = take_turn(conversation, question)
        asked = conversation.messages[:-1]
        for role, model, decoded in (
            ("base", base, reply.summary.base_decoded),
            ("guide", guide, reply.summary.guide_decoded),
        ):
            prompt = prompt_of(conversation, role, asked)
            assert reply.prompt_tokens[role] == len(prompt)
            assert list(model.cached(0)[: len(prompt)]) == prompt
            new = len(prompt) - min(common_prefix(held[role], prompt), len(prompt) - 1)
            # Beside the prompt, each step but the last appends its tokens; the guide may respell some.
            assert new <= decoded <= new + 3 * reply.summary.steps
            assert decoded < len(prompt) // 2 or number == 0


@pytest.mark.parametrize(
    ("architectures", "changes"),
    [
        (("llama", "llama"), {}),
        (("gemma3", "gemma3"), SMALL_WINDOW),
        (("gemma3", "mamba"), {}),
        (("mamba", "gemma3"), SMALL_WINDOW),
    ],
    ids=str,
)
@pytest.mark.parametrize("method", ["base", "guide", "blendin", "ensemble"])
def test_a_reused_cache_writes_what_a_fresh_pair_would(
    start: Start, architectures: tuple[Architecture, Architecture], changes: dict[str, Any], method: str
) -> None:
    sampling = SamplingSettings(temperature=0.8, top_k=40)
    settings = replace(written(max_tokens=40, method=method), sampling=sampling, seed=7)
    conversation = start(settings, architectures=architectures, **changes)
    conversation.set_system(SYSTEM)
    for question in QUESTIONS:
        fresh = start(settings, architectures=architectures, **changes)
        fresh.messages = list(conversation.messages)
        expected = finish(fresh.send(question))
        reply = take_turn(conversation, question)
        assert reply.text == expected.text
        assert reply.summary.sources == expected.summary.sources
        assert reply.prompt_tokens == expected.prompt_tokens


def test_the_same_seed_writes_the_same_and_another_seed_another_text(start: Start) -> None:
    texts = []
    for seed in (1, 1, 2):
        settings = replace(written(max_tokens=30), sampling=SamplingSettings(temperature=1.5), seed=seed)
        texts.append(finish(start(settings).send(QUESTIONS[0])).text)
    assert texts[0] == texts[1] != texts[2]


def test_an_edited_history_is_seen(start: Start) -> None:
    """What a cache holds must never outweigh what the messages say."""
    conversation, other = start(), start()
    for question in QUESTIONS:
        take_turn(conversation, question)
    conversation.messages = [Message("user", "Is it"), Message("assistant", "No."), Message("user", "Why")]
    other.messages = list(conversation.messages)
    assert finish(conversation.reply()).text == finish(other.reply()).text


def test_system_prompt(start: Start) -> None:
    conversation = start()
    conversation.set_system("")
    assert conversation.messages == []
    conversation.send("Hello")
    conversation.set_system("Be brief.")
    assert conversation.messages == [Message("system", "Be brief."), Message("user", "Hello")]
    finish(conversation.reply())
    conversation.set_system("Be long.")
    assert conversation.messages == [Message("system", "Be long."), Message("user", "Hello")]
    reply = finish(conversation.reply())
    base = conversation.pair.base
    assert b"Be long." in base.vocabulary.decode(base.cached(0))
    assert b"Be brief." not in base.vocabulary.decode(base.cached(0))
    other = start()
    other.messages = list(conversation.messages)
    assert reply.text == finish(other.reply()).text
    conversation.set_system(" \n")
    assert conversation.messages == [Message("user", "Hello")]


# Replies that go on


@pytest.mark.parametrize("changes", [{}, SMALL_WINDOW], ids=["whole", "window"])
@pytest.mark.parametrize("method", ["base", "guide", "blendin", "ensemble"])
def test_a_branch_decodes_what_differs_and_no_prompt(
    start: Start, method: str, changes: dict[str, Any]
) -> None:
    """Both models remember the reply up to the branch; the guide may respell its last word."""
    architecture: Architecture = "gemma3" if changes else "llama"
    settings = written(30, method=method, gamma=1.0)
    conversation = start(settings, architectures=(architecture, "llama"), **changes)
    conversation.set_system(SYSTEM)
    conversation.candidates = 3
    reply = conversation.send(QUESTIONS[0])
    steps = list(reply)
    for k in (24, 9, 1, 0):
        column = steps[k].candidates
        assert column is not None
        other = next(c.outcome for c in column.blend if c.data and c.outcome != steps[k].outcome)
        for forced_outcome in (other, None):
            branch = conversation.reply(prefix=tuple(steps[:k]), forced_outcome=forced_outcome)
            rest = list(branch)
            assert rest[0].outcome == (steps[k].outcome if forced_outcome is None else forced_outcome)
            assert rest[0].base_decoded <= (0 if method == "guide" else 3)
            assert rest[0].guide_decoded <= (0 if method == "base" else 8)
            assert branch.text.startswith("".join(step.text for step in steps[:k]))
            assert (branch.prefix, branch.summary.kept) == (tuple(steps[:k]), k)
        # The last branch chose nothing else.
        assert [step.outcome for step in rest[: 30 - k]] == [step.outcome for step in steps[k:]]
        assert branch.text.startswith(reply.text.rstrip("\ufffd"))
    assert conversation.messages[-1] == Message("user", QUESTIONS[0])


def test_a_long_prefix_takes_the_place_of_old_turns(start: Start) -> None:
    conversation = start(written(20), n_ctx=180)
    for question in QUESTIONS:
        take_turn(conversation, question)
    conversation.messages.append(Message("user", "Why?"))
    text = "the people of the winter " * 5
    prefix = (Step(index=0, data=text.encode(), text=text, source=Source.USER),)
    without, reply = conversation.reply(), finish(conversation.reply(prefix=prefix))
    assert without.dropped_messages < reply.dropped_messages
    assert (reply.finish_reason, reply.text.startswith(text)) == ("length", True)
    # Bytes count that wait for the rest of their character, or for a stop string, too.
    hidden = (replace(prefix[0], text=""),)
    assert conversation.reply(prefix=hidden).dropped_messages == reply.dropped_messages


@pytest.mark.parametrize("method", ["base", "guide", "blendin"])
def test_a_prefix_that_leaves_no_room_ends_by_the_context(start: Start, method: str) -> None:
    conversation = start(written(20, method=method), n_ctx=128)
    text = "word " * 200
    prefix = (Step(index=0, data=text.encode(), text=text, source=Source.USER),)
    conversation.messages = [Message("user", "Hello")]
    reply = conversation.reply(prefix=prefix)
    assert list(reply) == []
    assert (reply.text, reply.finish_reason) == (text, "context")
    assert finish(conversation.reply()).finish_reason == "length"


# Which models take part


@pytest.mark.parametrize(
    ("method", "silent", "blend"),
    [("guide", "base", {}), ("base", "guide", {}), ("blendin", "guide", {"gamma": 0.0})],
)
def test_a_method_of_one_model_needs_no_prompt_for_the_other(
    start: Start, method: str, silent: str, blend: dict[str, Any]
) -> None:
    formats = {f"{silent}_format": BROKEN}
    conversation = start(written(method=method, **blend), **formats)
    reply = take_turn(conversation, QUESTIONS[0])
    speaker = "guide" if silent == "base" else "base"
    assert len(reply.text) > 5
    assert reply.prompt_tokens.keys() == {speaker}
    assert getattr(conversation.pair, silent).cached(0) == []
    assert getattr(reply.summary, f"{silent}_decoded") == 0
    assert getattr(reply.summary, f"{speaker}_tokens") == 12


def test_a_failing_format_takes_no_message(start: Start) -> None:
    conversation = start(guide_format=BROKEN)
    with pytest.raises(PromptError, match="not to be used"):
        conversation.send(QUESTIONS[0])
    assert conversation.messages == []


def test_stop_strings_are_those_of_the_formats_in_use(start: Start) -> None:
    """A stop string of the base's format ends a reply; where the guide writes alone, it is only text."""
    first = finish(start(written(20)).send(QUESTIONS[0])).text
    stopping = replace(QUESTION_ANSWER, stops=(first[3:6],))
    reply = finish(start(written(20), base_format=stopping).send(QUESTIONS[0]))
    assert reply.finish_reason == "stop string"
    assert reply.text == first[: first.index(first[3:6])]
    alone = start(written(20, method="guide"), base_format=replace(QUESTION_ANSWER, stops=("e", "a", " ")))
    assert finish(alone.send(QUESTIONS[0])).finish_reason == "length"


# A context that is too small


@pytest.mark.parametrize("architectures", [("llama", "llama"), ("gemma3", "mamba")], ids=str)
def test_the_oldest_turns_go_first_and_the_system_prompt_stays(
    start: Start, architectures: tuple[Architecture, Architecture]
) -> None:
    max_tokens, n_ctx = 20, 200
    conversation = start(written(max_tokens), architectures=architectures, n_ctx=n_ctx)
    conversation.set_system("Be one of the people.")
    dropped: list[int] = []
    for number in range(9):
        reply = take_turn(conversation, f"{QUESTIONS[number % 3]} ({number})")
        dropped.append(reply.dropped_messages)
        assert reply.finish_reason == "length", "the reply has its room"
        system, *turns = conversation.messages[:-1]
        kept = [system, *turns[reply.dropped_messages :]]
        assert kept[1].role == "user", "whole turns are dropped"
        lengths: dict[str, list[int]] = {"base": [], "guide": []}
        for role, model in (("base", conversation.pair.base), ("guide", conversation.pair.guide)):
            prompt = prompt_of(conversation, role, kept)
            assert list(model.cached(0)[: len(prompt)]) == prompt or not reply.summary.consultations
            assert reply.prompt_tokens[role] == len(prompt) <= n_ctx - max_tokens
            more = [system, *turns[max(0, reply.dropped_messages - 2) :]]
            lengths[role] = prompt_of(conversation, role, more)
        if reply.dropped_messages:
            longest = max(map(len, lengths.values()))
            assert longest > n_ctx - max_tokens, "no turn is dropped that would fit"
    assert dropped == sorted(dropped)
    assert dropped[0] == 0
    assert dropped[-1] > dropped[-4] > 0
    assert len(conversation.messages) == 1 + 2 * 9, "what is dropped is still there to be read"


def test_a_shorter_guide_context_counts_too(tiny: Write) -> None:
    base = open_model(tiny("llama", "spm"), EXACT)
    guide = open_model(tiny("llama", "bpe"), replace(EXACT, n_ctx=100))
    with closing(base), closing(guide):
        conversation = Conversation(
            pair_models(base, guide), {"base": QUESTION_ANSWER, "guide": CHATML}, written(16)
        )
        replies = [take_turn(conversation, question) for question in QUESTIONS]
        assert replies[-1].dropped_messages > 0
        assert replies[-1].prompt_tokens["guide"] <= 100 - 16
        # The base alone would have had the room.
        conversation.settings = written(16, method="base")
        assert conversation.reply().dropped_messages == 0


@pytest.mark.parametrize("method", ["base", "guide", "blendin"])
def test_a_message_too_long_is_refused_and_not_kept(start: Start, method: str) -> None:
    conversation, other = (start(written(method=method), n_ctx=128) for _ in range(2))
    for each in (conversation, other):
        each.set_system("Be brief.")
        take_turn(each, "Hello")
    before = list(conversation.messages)
    with pytest.raises(PromptError) as caught:
        conversation.send("word " * 200)
    message = str(caught.value)
    assert "128" in message
    assert ("guide" if method == "guide" else "base") in message
    assert "\n" not in message
    assert conversation.messages == before
    assert take_turn(conversation, "Are you there?").text == take_turn(other, "Are you there?").text


def test_a_message_that_leaves_little_room_is_cut_by_the_context(start: Start) -> None:
    conversation = start(written(100, method="base"), n_ctx=128)
    reply = finish(conversation.send("word " * 100))
    room = 128 - reply.prompt_tokens["base"]
    assert 0 < room < 128 // 4
    assert reply.finish_reason == reply.summary.finish_reason == "context"
    # The last token's logits need its own place; the one chosen from them needs none.
    assert reply.summary.steps == room + 1
    assert reply.text


def test_a_system_prompt_too_long_is_refused(start: Start) -> None:
    conversation = start(n_ctx=64)
    conversation.set_system(SYSTEM)
    with pytest.raises(PromptError, match="too long"):
        conversation.send("Hello")
    assert conversation.messages == [Message("system", SYSTEM)]


# Cancellation


def test_cancelling_keeps_what_was_written(start: Start) -> None:
    conversation, other = start(written(40)), start(written(40))
    reply, whole = conversation.send(QUESTIONS[0]), finish(other.send(QUESTIONS[0]))
    steps = []
    for step in reply:
        steps.append(step)
        if len(steps) == 5:
            reply.cancel()
    assert len(steps) == 5
    assert reply.finish_reason == reply.summary.finish_reason == "cancelled"
    assert reply.text
    assert whole.text.startswith(reply.text)
    conversation.keep(reply)
    assert conversation.messages[-1] == Message("assistant", reply.text)
    # And the talk goes on as if the model had stopped there by itself.
    other.messages = list(conversation.messages)
    assert take_turn(conversation, QUESTIONS[1]).text == take_turn(other, QUESTIONS[1]).text


def test_cancelling_before_the_first_step(start: Start) -> None:
    conversation = start()
    reply = conversation.send(QUESTIONS[0])
    reply.cancel()
    assert list(reply) == []
    assert (reply.text, reply.finish_reason) == ("", "cancelled")
    assert finish(conversation.reply()).finish_reason == "length", "the next reply is its own"


def test_cancelling_from_another_thread(start: Start) -> None:
    conversation = start(written(400), n_ctx=512)
    reply = conversation.send(QUESTIONS[0])
    some_steps = threading.Event()

    def cancel() -> None:
        some_steps.wait()
        reply.cancel()

    thread = threading.Thread(target=cancel)
    thread.start()
    steps = []
    for step in reply:
        steps.append(step)
        if len(steps) == 3:
            some_steps.set()
            thread.join()
    assert len(steps) == 3
    assert reply.finish_reason == "cancelled"
    assert reply.text == "".join(step.text for step in steps)


@pytest.mark.parametrize("role", ["base", "guide"])
def test_cancelling_inside_a_decode(start: Start, monkeypatch: pytest.MonkeyPatch, role: str) -> None:
    """The decode is given up, its tokens are forgotten, and the next reply is as good as any."""
    conversation, other = (start(written(method="ensemble")) for _ in range(2))
    for each in (conversation, other):
        take_turn(each, QUESTIONS[0])
    model = getattr(conversation.pair, role)
    reply = conversation.send(QUESTIONS[1])
    advance = model.advance

    def cancelled_on_the_way(work: Any) -> Any:
        reply.cancel()
        return advance(work)

    with monkeypatch.context() as patch:
        patch.setattr(model, "advance", cancelled_on_the_way)
        assert list(reply) == []
    assert (reply.text, reply.finish_reason) == ("", "cancelled")
    assert finish(conversation.reply()).text == take_turn(other, QUESTIONS[1]).text


@examples(200)
@given(st.integers(1, 900), st.integers(0, 900))
def test_few_renderings_find_the_first_turn_that_fits(n: int, first: int) -> None:
    tried: list[int] = []

    def fits(cut: int) -> bool:
        tried.append(cut)
        return cut >= first

    assert _first_that_fits(n, fits) == min(first, n - 1)
    assert len(tried) == len(set(tried)) <= 2 * n.bit_length() + 1


def test_an_unwanted_reply_renders_nothing(start: Start) -> None:
    conversation = start()
    cancellation = Cancellation()
    cancellation.cancel()
    with pytest.raises(PromptError, match="stopped before its prompt was written"):
        begin_reply(
            conversation.pair,
            conversation.formats,
            [Message("user", "hi")],
            conversation.settings,
            cancellation=cancellation,
        )


def test_a_stop_string_that_names_a_special_token_stops_at_it(start: Start) -> None:
    conversation = start(written(method="base"), base_format=PLAIN_FORMATS["raw"])
    vocabulary = conversation.pair.base.vocabulary
    name, token = next((name, token) for name, token in vocabulary.specials.items() if name == "<bos>")
    conversation.settings = replace(conversation.settings, stop=(name,))
    reply = conversation.send("hi")
    assert token in reply._response._ends
    asked = (conversation.pair, conversation.formats, [Message("user", "hi")], conversation.settings)
    step = next(iter(begin_reply(*asked, forced_outcome=token)))
    assert (step.source, step.finish_reason) == (Source.STOP, "stop")
