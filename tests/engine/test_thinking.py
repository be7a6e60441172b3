"""Models that think before they answer: their marks, when they think, and what becomes of it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.decoding import asked, run
from support.fakes import FakeModel, reciting, saying, words_and_bytes
from support.thinking_templates import FAMILIES, HARMONY, OPENING, PLAIN, QWEN
from support.tiny_gguf import write_tiny

from blendin_local.engine.conversation import begin_reply
from blendin_local.engine.incremental_tokenizer import Retokenizer, tokenize_reply
from blendin_local.engine.pair import Pair, pair_models
from blendin_local.engine.prompts import Message, PromptFormat, make_prompt, render_messages, turn_stops
from blendin_local.engine.response import Response
from blendin_local.engine.steps import Source, Step, answer_text, thinking_text
from blendin_local.engine.text_attribution import Attribution
from blendin_local.engine.text_stream import TextStream
from blendin_local.engine.thinking import choose_formats, silenced_model
from blendin_local.formats import Formats
from blendin_local.llamacpp.model import GgufModel, open_model
from blendin_local.settings import BlendSettings, GenerationSettings, ModelOptions
from blendin_local.templates.thinking_marks import ThinkingMarks, thinking_marks

TALK = [Message("user", "Why?")]
THINK = thinking_marks(QWEN)
assert THINK is not None


def prompt_of(form: PromptFormat) -> str:
    return render_messages(form, TALK, {"bos_token": "", "eos_token": ""}).text


# Marks


@pytest.mark.parametrize(
    ("family", "opening", "closing_"),
    [
        ("qwen", "<think>", "</think>"),
        ("opening", "<think>", "</think>"),
        ("granite", "<think>", "</think>"),
        ("deepseek", "<think>", "</think>"),
        ("mistral", "[THINK]", "[/THINK]"),
        ("gemma", "<|channel>thought\n", "<channel|>"),
        (
            "harmony",
            "<|channel|>analysis<|message|>",
            "<|end|><|start|>assistant<|channel|>final<|message|>",
        ),
    ],
)
def test_the_marks_of_thinking_are_taken_from_the_template(family: str, opening: str, closing_: str) -> None:
    marks = thinking_marks(FAMILIES[family])
    assert marks is not None and (marks.open, marks.close) == (opening, closing_)


@pytest.mark.parametrize(
    ("template", "close"),
    [
        ("{{ '<seed:think>' }}{{ '</seed:think>' }}", "</seed:think>"),
        ("{% if '</thinking>' in m.content %}x{% endif %}", "</thinking>"),
        ("{{ '<thought>' }}x{{ '</thought>' }}", "</thought>"),
        ("<|START_THINKING|>x<|END_THINKING|>", "<|END_THINKING|>"),
    ],
)
def test_other_spellings_of_the_marks_are_found(template: str, close: str) -> None:
    marks = thinking_marks(template)
    assert (
        marks is not None
        and marks.close == close
        and marks.open == close.replace("/", "").replace("END", "START")
    )


@pytest.mark.parametrize("template", [PLAIN, "", "Think, then answer: {{ messages[0].content }}</b>"])
def test_a_template_without_marks_has_none(template: str) -> None:
    assert thinking_marks(template) is None


# When models think


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("thinker", ["base", "guide"])
def test_a_model_does_not_think_where_the_other_cannot(family: str, thinker: str) -> None:
    other = "guide" if thinker == "base" else "base"
    templates: Any = {thinker: FAMILIES[family], other: PLAIN}
    formats = choose_formats(Formats(), templates)
    marks = thinking_marks(FAMILIES[family])
    text = prompt_of(formats[thinker])  # type: ignore[index]
    assert marks is not None
    assert marks.left_closed_by(text) or family == "granite", text
    assert not marks.left_open_by(text) and "Write your thoughts" not in text
    assert prompt_of(formats[other]) == prompt_of(PromptFormat("", PLAIN))  # type: ignore[index]
    assert silenced_model(Formats(), templates) == thinker


@pytest.mark.parametrize("family", FAMILIES)
def test_thinking_is_switched_off_and_on_for_all(family: str) -> None:
    templates: Any = {"base": FAMILIES[family], "guide": PLAIN}
    marks = thinking_marks(FAMILIES[family])
    assert marks is not None
    off = prompt_of(choose_formats(Formats(thinking="off"), templates)["base"])
    on = prompt_of(choose_formats(Formats(thinking="on"), templates)["base"])
    assert not marks.left_open_by(off) and not marks.left_closed_by(on)
    assert off != on
    assert silenced_model(Formats(thinking="on"), templates) is None


def test_a_variable_of_the_user_decides() -> None:
    templates: Any = {"base": PLAIN, "guide": QWEN}
    formats = Formats(guide_variables={"enable_thinking": True})
    assert silenced_model(formats, templates) is None
    assert "</think>" not in prompt_of(choose_formats(formats, templates)["guide"])
    no = Formats(thinking="on", guide_variables={"enable_thinking": False})
    assert "</think>" in prompt_of(choose_formats(no, templates)["guide"])


def test_two_models_that_think_begin_alike() -> None:
    formats = choose_formats(Formats(), {"base": QWEN, "guide": OPENING})
    assert prompt_of(formats["base"]).endswith("assistant\n<think>\n")
    assert prompt_of(formats["guide"]).endswith("assistant\n<think>\n")
    both = choose_formats(Formats(), {"base": QWEN, "guide": QWEN})
    assert both["base"] == PromptFormat("chat", QWEN)


def test_variables_reach_the_template_they_are_for() -> None:
    formats = Formats(base_variables={"reasoning_effort": "high"}, thinking="on")
    chosen = choose_formats(formats, {"base": HARMONY, "guide": HARMONY})
    assert "Reasoning: high" in prompt_of(chosen["base"])
    assert "Reasoning: medium" in prompt_of(chosen["guide"])


# The text of a reply in its parts


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in itertools.pairwise(places)]


def streamed(
    pieces: list[bytes], marks: ThinkingMarks, stops: tuple[str, ...], opened: bool
) -> tuple[str, str]:
    stream, parts = TextStream(stops, marks, opened=opened), {True: "", False: ""}
    for piece in pieces:
        text = stream.feed(piece)
        parts[stream.in_thinking] += text
    text = stream.flush()
    parts[stream.in_thinking] += text
    return parts[True], parts[False]


_TEXTS = st.text(st.sampled_from("<>/thinkx é\n"), max_size=12)


@given(_TEXTS, _TEXTS, st.lists(st.integers(0, 99), max_size=9), st.booleans(), st.booleans())
def test_parts_do_not_depend_on_how_the_text_is_cut(
    thinking: str, answer: str, cuts: list[int], opened: bool, closed: bool
) -> None:
    assert THINK is not None
    text = ("" if opened else "\n<think>") + f"\n{thinking}" + (f"</think>\n\n{answer}" if closed else "")
    whole = streamed([text.encode()], THINK, (), opened)
    inside, _, after = (f"\n{thinking}</think>\n\n{answer}" if closed else f"\n{thinking}").partition(
        "</think>"
    )
    assert (whole[0].strip() + whole[1]) == inside.strip() + after.lstrip() or not closed
    found = streamed([*split(text.encode(), cuts), b""], THINK, (), opened)
    assert found[0] == inside.lstrip() and found[1] == after.lstrip()


@given(st.text(st.sampled_from("<>/thinkx \n"), max_size=20), st.lists(st.integers(0, 99), max_size=5))
def test_a_reply_without_thinking_is_all_answer(text: str, cuts: list[int]) -> None:
    assert THINK is not None
    if text.lstrip().startswith("<think>"):
        return
    assert streamed(split(text.encode(), cuts), THINK, (), False) == ("", text)


def test_stop_strings_end_the_answer_only() -> None:
    assert THINK is not None
    text = b"<think>One. Two.</think>Three. Four. Five"
    assert streamed([text], THINK, ("Two", "Five"), False) == ("One. Two.", "Three. Four. ")


def test_a_mark_in_the_middle_of_an_answer_is_text() -> None:
    assert THINK is not None
    assert streamed([b"Write <think>x</think>."], THINK, (), False) == ("", "Write <think>x</think>.")


def test_the_final_channel_is_the_answer() -> None:
    marks = thinking_marks(HARMONY)
    assert marks is not None
    thought = b"<|channel|>analysis<|message|>So.<|end|><|start|>assistant<|channel|>final<|message|>Yes."
    assert streamed([thought], marks, (), False)[1] == "Yes."
    assert streamed([b"<|channel|>final<|message|>Yes."], marks, (), False) == ("", "Yes.")


# Replies

THOUGHT = "<think>\nIs it so? It is.\n</think>\n\nYes. Because."


def reply_of(
    text: str = THOUGHT, *, opened: bool = False, max_thinking: int = 2048, **options: Any
) -> tuple[Response, list[Step]]:
    words = words_and_bytes(
        [b"<think>", b"</think>", b"\n", b"Is", b" it", b" so", b"? ", b"It", b" is", b"."]
    )
    pair = pair_models(
        FakeModel(words, reciting(words, text.encode(), confidence=0.5)),
        FakeModel(words, reciting(words, text.encode())),
    )
    request = replace(asked(gamma=0.9, **options), marks=THINK)
    if opened:
        base, guide = request.base, request.guide
        assert base is not None and guide is not None
        request = replace(
            request, base=replace(base, in_thinking=True), guide=replace(guide, in_thinking=True)
        )
    settings = replace(request.settings, max_thinking=max_thinking)
    return run(pair, replace(request, settings=settings))


@pytest.mark.parametrize("method", ["blendin", "base", "guide", "nudge"])
def test_thinking_and_answer_are_told_apart(method: str) -> None:
    response, steps = reply_of(method=method)
    assert (response.reasoning.strip(), response.text) == ("Is it so? It is.", "Yes. Because.")
    assert answer_text(steps) == response.text and thinking_text(steps) == response.reasoning.strip()
    assert b"".join(step.data for step in steps) == THOUGHT.encode()
    whole, thinking, answer = response.summary, response.summary.thinking, response.summary.answer
    assert thinking is not None and answer is not None
    assert (thinking.steps + answer.steps, answer.steps) == (
        whole.steps,
        len([s for s in steps if not s.thinking]),
    )
    assert thinking.mean("reliability") is not None and answer.mean("reliability") is not None


def test_thinking_that_the_prompt_begins() -> None:
    response, _ = reply_of(THOUGHT.removeprefix("<think>\n"), opened=True)
    assert (response.reasoning.strip(), response.text) == ("Is it so? It is.", "Yes. Because.")


def test_the_limits_of_thinking_and_answer_are_their_own() -> None:
    response, steps = reply_of(max_tokens=3)
    assert response.reasoning.strip() == "Is it so? It is."
    assert response.finish_reason == "length"
    assert len([step for step in steps if not step.thinking]) == 3
    response, _ = reply_of(max_tokens=1000, max_thinking=1000)
    assert response.text == "Yes. Because."


@pytest.mark.parametrize("opened", [False, True])
@pytest.mark.parametrize("limit", [0, 1, 4])
def test_a_thinking_at_its_limit_is_closed(limit: int, opened: bool) -> None:
    words = words_and_bytes([b"<think>", b"</think>", b"\n", b"Hm", b"Yes"])
    # It would think for ever, and answers as soon as its thinking is closed.
    table = {"": {"<think>": 0.9}, "<think>": {"Hm": 0.9}, "Hm": {"Hm": 0.9}, "</think>\n\n": {"Yes": 0.9}}
    table |= {"\n": {"</think>": 0.9}, "</think>": {"\n": 0.9}, "</think>\n": {"\n": 0.9}, "Yes": {1: 0.9}}
    if opened:
        table[""] = {"Hm": 0.9}
    mind = saying(words, table)  # type: ignore[arg-type]
    pair = pair_models(FakeModel(words, mind), FakeModel(words, mind))
    request = replace(asked(), marks=THINK, settings=replace(asked().settings, max_thinking=limit))
    base, guide = request.base, request.guide
    assert base is not None and guide is not None
    request = replace(
        request, base=replace(base, in_thinking=opened), guide=replace(guide, in_thinking=opened)
    )
    response, steps = run(pair, request)
    assert response.text == "Yes" and response.finish_reason == "stop"
    # The open mark counts, where the model writes it.
    assert response.reasoning.count("Hm") == max(0, limit - (not opened))
    assert [step.source for step in steps].count(Source.USER) == 4


def test_the_guide_does_not_stop_a_thinking() -> None:
    words = words_and_bytes([b"<think>", b"</think>", b".", b"\n", b"Yes"])
    text = b"<think>Hm.\n</think>Yes."
    stopping = saying(words, {"": {"Yes": 0.5}, ".": {1: 0.9}, "\n": {1: 0.9}})
    pair = pair_models(FakeModel(words, reciting(words, text)), FakeModel(words, stopping))
    request = replace(asked(gamma=0, guide_stop=True), marks=THINK)
    assert run(pair, request)[0].text == "Yes."
    pair = pair_models(FakeModel(words, reciting(words, text, confidence=0.3)), FakeModel(words, stopping))
    response, steps = run(pair, replace(asked(gamma=0.01, guide_stop=True), marks=THINK))
    assert (response.text, steps[-1].source) == ("Yes.", Source.STOP)


def test_a_reply_is_continued_inside_its_thinking() -> None:
    whole, steps = reply_of()
    for kept in range(len(steps)):
        words = words_and_bytes(
            [b"<think>", b"</think>", b"\n", b"Is", b" it", b" so", b"? ", b"It", b" is", b"."]
        )
        mind = reciting(words, THOUGHT.encode(), confidence=0.5)
        pair = pair_models(FakeModel(words, mind), FakeModel(words, mind))
        request = replace(asked(gamma=0.9), marks=THINK, prefix=tuple(steps[:kept]))
        response, rest = run(pair, request)
        assert (response.reasoning, response.text) == (whole.reasoning, whole.text)
        assert [step.thinking for step in (*response.prefix, *rest)] == [step.thinking for step in steps]


def test_text_belongs_to_the_steps_that_chose_it() -> None:
    _, steps = reply_of()
    attribution = Attribution()
    for step in steps:
        for text, owner in attribution.take(step):
            assert text.encode() in owner.data and owner.thinking == step.thinking


# Marks that are control tokens


def test_a_message_does_not_open_a_thinking(mistral: GgufModel) -> None:
    bare = PromptFormat(
        "chat", "Say: {% for m in messages %}{{ m.content.split('</think>')[-1] }}{% endfor %}"
    )
    for ending in ("<think>", "<think>\n", "[THINK]"):
        prompt = make_prompt(mistral, bare, [Message("user", f"What is {ending}")])
        assert not prompt.in_thinking
    opening = PromptFormat("chat", OPENING)
    assert make_prompt(mistral, opening, TALK).in_thinking


def test_an_answer_that_was_written_by_hand_is_continued_as_an_answer(mistral: GgufModel) -> None:
    written = Step(index=0, data=b"It is", text="It is", source=Source.USER)
    formats = choose_formats(Formats(), {"base": OPENING, "guide": OPENING})
    settings = GenerationSettings(max_tokens=4)
    reply = begin_reply(pair_models(mistral, mistral), formats, TALK, settings, prefix=(written,))
    list(reply)
    assert reply.reasoning == "" and reply.text.startswith("It is")


@pytest.fixture(scope="module")
def mistral(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GgufModel]:
    path = tmp_path_factory.mktemp("thinking") / "mistral.gguf"
    write_tiny(path, vocabulary="bpe", seed=3, control=["[THINK]", "[/THINK]"])
    with closing(open_model(path, ModelOptions(n_ctx=512, n_threads=1))) as model:
        yield model


def test_control_tokens_that_are_marks_have_bytes(mistral: GgufModel) -> None:
    vocabulary = mistral.vocabulary
    opening, close = vocabulary.specials["[THINK]"], vocabulary.specials["[/THINK]"]
    assert vocabulary.decode([opening, close]) == b"[THINK][/THINK]"
    assert vocabulary.mark_tokens == {b"[THINK]": opening, b"[/THINK]": close}
    assert vocabulary.decode([vocabulary.specials["<|im_start|>"]]) == b""


def test_marks_in_a_reply_are_tokens_and_in_a_message_text(mistral: GgufModel) -> None:
    vocabulary = mistral.vocabulary
    opening, close = vocabulary.specials["[THINK]"], vocabulary.specials["[/THINK]"]
    tokens = tokenize_reply(mistral, b"[THINK]hello there[/THINK]Yes")
    assert (tokens[0], tokens.count(close), vocabulary.decode(tokens)) == (
        opening,
        1,
        b"[THINK]hello there[/THINK]Yes",
    )
    retokenizer, text = Retokenizer(mistral), b"[THINK]hello there friend of mine[/THINK]Yes it is so"
    for end in range(len(text) + 1):
        assert retokenizer.tokens(text[:end]) == tokenize_reply(mistral, text[:end])
    form = PromptFormat("chat", FAMILIES["mistral"])
    prompt = make_prompt(mistral, form, [Message("user", "What is [THINK]x[/THINK]?")])
    assert prompt.tokens.count(opening) == 1  # the one that the template wrote
    assert b"What is [THINK]x[/THINK]?" in vocabulary.decode(prompt.tokens)


def test_a_tiny_model_of_each_family_thinks_and_answers(mistral: GgufModel) -> None:
    pair = pair_models(mistral, mistral)
    for family, template in FAMILIES.items():
        formats = choose_formats(Formats(thinking="on"), {"base": template, "guide": template})
        marks = formats["base"].marks
        assert marks is not None
        settings = GenerationSettings(max_tokens=4, max_thinking=3)
        reply = begin_reply(pair, formats, TALK, settings)
        steps = list(reply)
        assert len([step for step in steps if not step.thinking]) <= 4, family
        # What a random model writes after an open mark is a thinking of three tokens and its closing mark.
        if reply.summary.thinking is not None:
            assert marks.close not in reply.reasoning and marks.close not in reply.text


def test_marks_between_parts_of_a_reply_do_not_stop_it(mistral: GgufModel) -> None:
    assert not set(turn_stops(mistral, PromptFormat("chat", HARMONY))) & {
        "<|end|>",
        "<|start|>",
        "<|channel|>",
    }


def test_marks_make_another_vocabulary(mistral: GgufModel, tmp_path: Path) -> None:
    path = write_tiny(tmp_path / "other.gguf", vocabulary="bpe", control=["[SMALL]", "[/SMALL]"])
    with closing(open_model(path, ModelOptions(n_ctx=512, n_threads=1))) as other:
        assert other.vocabulary.fingerprint != mistral.vocabulary.fingerprint


@pytest.mark.real
@pytest.mark.parametrize("method", ["guide", "blendin"])
def test_the_demo_guide_thinks_with_a_template_that_does(demo: Pair, method: str) -> None:
    templates: Any = {"base": PLAIN, "guide": QWEN}
    formats = choose_formats(Formats(thinking="on"), templates)
    formats = {**formats, "guide": replace(formats["guide"], head="<think>\n")}
    if method == "blendin":
        formats["base"] = replace(formats["base"], template=QWEN, head="<think>\n")
    settings = GenerationSettings(BlendSettings(method, guide_stop=False), max_tokens=8, max_thinking=6)
    reply = begin_reply(demo, formats, TALK, settings)
    steps = list(reply)
    assert reply.reasoning and reply.text.strip()
    assert "think>" not in reply.reasoning + reply.text
    assert sum(not step.thinking for step in steps) <= 8
    assert reply.summary.thinking is not None and reply.summary.answer is not None
    silent = begin_reply(demo, choose_formats(Formats(), templates), TALK, settings)
    assert list(silent) and silent.summary.thinking is None
