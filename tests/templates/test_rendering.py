"""Templates see exactly what was said, and the text of a prompt tells which characters they wrote themselves.

The first is held against plain Jinja. For the second, the names of special tokens that stand in a rendering are held
against another one, in which no message has any part of such a name.
"""

# ruff: noqa: E501 (templates are one line each)

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import jinja2
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from jinja2.sandbox import ImmutableSandboxedEnvironment
from support.examples import examples

from blendin_local.templates.environment import compile_template
from blendin_local.templates.messages import RenderRequest, TemplateFailed
from blendin_local.templates.rendering import _forms, render
from blendin_local.templates.traced_text import from_template

NAMES = ("<|im_start|>", "<|im_end|>", "<s>", "</s>", "[INST]")
PIECES = (
    "<|",
    "|>",
    "im_",
    "start",
    "END",
    "end|>",
    "<",
    ">",
    "s",
    "/s",
    "[IN",
    "ST]",
    " ",
    "\n",
    "\r\n",
    "é",
    "🙂",
    "\0",
    "x",
)

Turns = list[tuple[str, str]]

TEXTS = st.lists(
    st.sampled_from((*PIECES, *NAMES, *(name.upper() for name in NAMES))), min_size=1, max_size=6
).map("".join)
TALKS = st.lists(TEXTS, min_size=1, max_size=4).map(
    lambda texts: [("assistant" if i % 2 else "user", text) for i, text in enumerate(texts)]
)

FILTERS = (
    "lower", "upper", "title", "capitalize", "reverse", "trim", "striptags", "escape", "forceescape", "safe", "string",
    "urlize", "urlencode", "wordwrap(4)", "indent(2)", "indent(1, true)", "center(30)", "truncate(8)",
    "truncate(6, true, '')", "replace('<', '')", "replace('x', '<|')", "replace('', '|')", "replace('|', '', 1)",
    "list | join", "list | join('<')", "list | reverse | join", "list | first", "list | last", "list | sort | join",
    "list | unique | join", "batch(2) | map('join') | join('|')", "list | map('upper') | join", "format", "tojson",
    "pprint", "default('<s>')", "wordcount", "length", "int", "list", "slice(2) | list",
    "select | join", "reject('eq', '<') | join", "first", "last",
)  # fmt: skip
MARKUP = ("escape", "safe", "urlize")
METHODS = (
    ".strip()", ".lstrip('<')", ".rstrip('>')", ".split('|')[-1]", ".split('|', 1)[0]", ".split()[0]", ".split() | join",
    ".rsplit('|', 1)[0]", ".rsplit(none, 1)[-1]", ".splitlines() | join('|')", ".splitlines(true) | join",
    ".partition('|')[2]", ".rpartition('>')[0]", ".replace('|', '<|')", ".replace('', '-', 2)", ".lower()", ".swapcase()",
    ".casefold()", ".title()", ".center(20, '<')", ".ljust(20)", ".zfill(20)", ".expandtabs()", ".removeprefix('<')",
    ".removesuffix('>')", "[0]", "[-1]", "[::-1]", "[1:]", "[:-1]", "[1:5:2]", "[:3] ~ '|>'", ".join(['<', '>'])",
    ".join('|>')", ".encode().decode()", ".format(1, a=2)", " * 2", " + '<|'", " ~ 1 ~ none", ".startswith('<|')",
    ".count('<')", ".index('s')", ".translate({60: '<|'})", " % ()",
)  # fmt: skip
WRAPS = (
    "'<|im_start|>' + {}", "'<' ~ {} ~ '>'", "'%s|%s' % ({}, '<s>')", "'%5.3s' % ({},)", "'%(a)s>' % {{'a': {}}}",
    "'<s>{{}}{{}}'.format({}, 1)", "'{{0:>8}}|{{a!r}}'.format({}, a='<s>')", "'{{a}}'.format_map({{'a': {}}})",
    "'|'.join([{}, 'im_end'])", "({}, '<s>') | join('|')", "[{}] | first", "{{'k': {}}}['k']", "{{'k': {}}}.get('k')",
    "{{'k': {}}} | dictsort | first | last", "{{'k': {}}}.items() | list | first | join('=')", "namespace(x={}).x",
    "({}) if true else '<s>'", "f({})", "g(v={})", "('<|' ~ {}) | replace('<|', '<|im_')", "cycler({}, '<s>').next()",
    "dict(k={}).k", "[{}, '<s>'] | map('lower') | join", "[{}] | sum(start='') if false else {}",
)  # fmt: skip
BODIES = (
    "{{ EXPR }}",
    "<|im_start|>{{ m.role }}\n{{ EXPR }}<|im_end|>\n",
    "{% set x = EXPR %}{{ x }}",
    "{% set x %}<s>{{ EXPR }}{% endset %}{{ x | trim }}",
    "{% filter lower %}<S>{{ EXPR }}{% endfilter %}",
    "{% set ns = namespace(t='<') %}{% set ns.t = ns.t ~ EXPR %}{{ ns.t }}",
    "{% if m.content.startswith('<|') %}[INST]{{ EXPR }}{% elif m.content[0] == '<' %}<{{ EXPR }}{% else %}{{ EXPR }}</s>{% endif %}",
    "{% if 'im_' in m.content and m.content | length > 3 %}{{ EXPR }}{% else %}({{ EXPR }}){% endif %}",
    "{% for c in (EXPR) | string %}{{ c }}{{ loop.cycle('', '|') }}{% endfor %}",
    "{% call(v) f('<') %}{{ v }}{{ EXPR }}{% endcall %}",
    "{%- set bar = joiner('|') %}{{ bar() }}{{ EXPR }}{{ bar() }}{{ EXPR }}",
    "{% with y = EXPR %}{{ y }}{% endwith %}",
)  # fmt: skip
MACROS = (
    "{% macro f(v) %}<|im_start|>{{ v }}{% if caller %}{{ caller('s>') }}{% endif %}{% endmacro %}"
    "{% macro g(v='<s>') %}{{ varargs | join }}{{ v }}{% endmacro %}"
)
FRAMES = (
    "{{ bos_token }}{% for m in messages %}BODY{% endfor %}{{ '<|im_start|>assistant' if add_generation_prompt }}",
    "{% for m in messages if m.content %}BODY{% endfor %}",
    "{% for m in messages[1:] + messages[:1] %}BODY{% endfor %}",
    "{% for group in messages | groupby('role') %}{% for m in group.list %}BODY{% endfor %}{% endfor %}",
    "{% for m in messages | selectattr('role', 'equalto', 'user') | list %}BODY{% endfor %}",
    "{{ messages | map(attribute='content') | join('<s>') }}{% set m = messages | last %}BODY",
    "{% set m = messages[0] %}BODY{{ messages | tojson }}",
)  # fmt: skip


@st.composite
def templates(draw: st.DrawFn) -> str:
    expression = "m.content"
    for _ in range(draw(st.integers(0, 3))):
        kind = draw(st.integers(0, 2))
        if kind == 0:
            expression = f"({expression}) | {draw(st.sampled_from(FILTERS))}"
        elif kind == 1:
            expression = f"({expression}){draw(st.sampled_from(METHODS))}"
        else:
            expression = draw(st.sampled_from(WRAPS)).format(expression, expression)
    body = draw(st.sampled_from(BODIES)).replace("EXPR", expression)
    return MACROS + draw(st.sampled_from(FRAMES)).replace("BODY", body)


def plain(template: str, turns: Sequence[tuple[str, str]]) -> str:
    """Render as Jinja itself does."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = lambda value, **options: json.dumps(value, ensure_ascii=False, **options)
    messages = [{"role": role, "content": content} for role, content in turns]
    return environment.from_string(template).render(
        messages=messages, add_generation_prompt=True, bos_token="<s>", tools=None, documents=None
    )


def rendered(template: str, turns: Turns) -> tuple[str, list[tuple[int, int]]] | None:
    try:
        found = render(RenderRequest(template, turns, {"bos_token": "<s>"}))
    except TemplateFailed:
        return None
    return found.text, found.written


@examples(5_000, by_day=120)
@given(templates(), TALKS)
def test_a_template_sees_what_was_said(template: str, turns: Turns) -> None:
    """It writes what plain Jinja writes; but for `Markup`, which escapes what is joined to it, and is no prompt's."""
    assume(not any(name in template for name in MARKUP))

    def traced() -> str:
        messages, _ = next(_forms(turns))
        given = {"messages": messages, "bos_token": from_template("<s>"), "add_generation_prompt": True}
        return str.__str__(compile_template(template).render(given, tools=None, documents=None))

    def outcome(text: Callable[[], str]) -> str:
        try:
            return text()
        except Exception as error:
            return type(error).__name__

    expected = outcome(lambda: plain(template, turns))
    assume(" object at 0x" not in expected)
    assert outcome(traced) == expected


@examples(5_000, by_day=120)
@given(templates(), TALKS)
def test_nothing_that_was_said_becomes_a_special_token(template: str, turns: Turns) -> None:
    """Said with other letters, a message moves or removes what the template writes, but adds no special name to it."""
    found = rendered(template, turns)
    if found is None:
        return
    text, written = found
    for start, end in written:
        assert 0 <= start < end <= len(text)
    ours = "\0".join(text[start:end] for start, end in written)
    # The template's own characters are all in its source, whatever became of their order; but for quotes, which
    # `tojson` and the like put around them.
    letters = {*template, *template.lower(), *template.upper(), *"<s>user assistant\0'\""}
    assert set(ours) <= letters
    for _, content in turns:
        foreign = content.strip()
        if foreign and not set(foreign) & letters:
            assert foreign not in ours


MARKED = st.text("αβγδεζηθ", min_size=1, max_size=6)


@examples(5_000, by_day=120)
@given(templates(), st.lists(MARKED, min_size=1, max_size=4))
def test_no_character_of_a_message_counts_as_the_template_s(template: str, texts: list[str]) -> None:
    """Messages in an alphabet of their own: none of it, in upper or lower case, is among what the template wrote."""
    turns = [("assistant" if i % 2 else "user", text) for i, text in enumerate(texts)]
    found = rendered(template, turns)
    if found is not None:
        text, written = found
        ours = "".join(text[start:end] for start, end in written).casefold()
        assert not set(ours) & set("αβγδεζηθς")


@examples(5_000, by_day=120)
@given(templates(), st.lists(MARKED, min_size=1, max_size=4, unique=True))
def test_no_message_is_lost_in_silence(template: str, texts: list[str]) -> None:
    turns = [("assistant" if i % 2 else "user", text) for i, text in enumerate(texts)]
    found = rendered(template, turns)
    if found is not None and not any(name in template for name in ("escape", "tojson", "pprint")):
        shown = set(found[0].casefold())
        for _, text in turns:
            assert set(text.casefold()) & shown or "encode" in template


USER, SYSTEM, HELLO = ("user", "Hi there"), ("system", "Be brief."), ("assistant", "Hello.")


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        # Content only as a list of parts, as vision models have it.
        (
            "{% for m in messages %}<{{ m.role }}>{% for p in m.content %}{% if p.type == 'text' %}{{ p.text }}{% endif %}"
            "{% endfor %}{% endfor %}",
            "<system>Be brief.<user>Hi there<assistant>Hello.<user>Hi there",
        ),
        # The system text as the first part of a list, the rest as strings or parts.
        (
            "{% if messages[0].role == 'system' %}{{ messages[0]['content'][0]['text'] }}|{% endif %}"
            "{% for m in messages if m.role != 'system' %}{% if m.content is string %}{{ m.content }}{% else %}"
            "{{ m.content[0]['text'] }}{% endif %};{% endfor %}",
            "Be brief.|Hi there;Hello.;Hi there;",
        ),
        # No branch for the system role.
        (
            "{% for m in messages %}{% if m.role == 'user' %}U:{{ m.content }} {% elif m.role == 'assistant' %}"
            "A:{{ m.content }} {% endif %}{% endfor %}",
            "U:Be brief.\n\nHi there A:Hello. U:Hi there ",
        ),
        # No branch for it, and parts.
        (
            "{% for m in messages if m.role != 'system' %}{% for p in m.content %}{{ p.text }};{% endfor %}{% endfor %}",
            "Be brief.\n\nHi there;Hello.;Hi there;",
        ),
        # The role refused.
        (
            "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
            "{% for m in messages %}{{ m.content }};{% endfor %}",
            "Be brief.\n\nHi there;Hello.;Hi there;",
        ),
    ],
)  # fmt: skip
def test_the_form_that_loses_nothing(template: str, expected: str) -> None:
    assert render(RenderRequest(template, [SYSTEM, USER, HELLO, USER])).text == expected


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("chatml", "leaves out the user message 'Hi there'"),
        ("{{ messages[-1].content }}", "leaves out the user message 'Hi there'"),
        ("{% for m in messages %}{{ m.text }}{% endfor %}", "leaves out the user message 'Hi there'"),
        (
            "{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}",
            "the assistant message 'Hello.'",
        ),
    ],
)
def test_a_lost_message_is_named(template: str, words: str) -> None:
    with pytest.raises(TemplateFailed, match=words):
        render(RenderRequest(template, [USER, HELLO, ("user", "Bye")]))


def test_blank_messages_cannot_be_lost() -> None:
    assert render(RenderRequest("{{ messages[-1].content }}", [("user", " \n"), ("user", "x")])).text == "x"


def test_an_endless_text_is_refused() -> None:
    with pytest.raises(TemplateFailed, match="16,777,216 characters"):
        render(RenderRequest("{{ messages[0].content }}{{ 'x' * 20000000 }}", [USER]))


def variables(**given: Any) -> str:
    shown = "{{ messages[0].content }}|{{ thinking }}|{{ names | join(',') }}|{{ deep.a[0] }}"
    return render(RenderRequest(shown, [USER], given)).text


def test_variables_are_the_template_s_own() -> None:
    assert variables(thinking=False, names=["a", "b"], deep={"a": ["c"]}) == "Hi there|False|a,b|c"
    found = render(RenderRequest("{{ messages[0].content }}{{ mark }}", [USER], {"mark": "<think>"}))
    assert [found.text[start:end] for start, end in found.written] == ["<think>"]


def test_the_environment_is_that_of_transformers() -> None:
    shown = "{{ messages[0].content }}{{ tools is none }}{{ documents is none }}{{ add_generation_prompt }}"
    assert render(RenderRequest(shown, [USER])).text == "Hi thereTrueTrueTrue"
    assert jinja2.__version__ >= "3.1"


def test_only_texts_are_joined() -> None:
    with pytest.raises(TypeError):
        from_template("|").join([from_template("a"), 1])  # type: ignore[list-item]
