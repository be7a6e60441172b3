"""Conversations as files: what a message holds never breaks the document, and JSON brings everything back."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from support.awkward import AWKWARD
from support.conversations import CANDIDATE, PLAIN, SETUP, conversation, everything, values_of, word

from blendin_local.engine.steps import Candidates, Step, Timings
from blendin_local.errors import HistoryError
from blendin_local.history.document import as_json, read_json
from blendin_local.history.html_export import as_page
from blendin_local.history.markdown import as_markdown
from blendin_local.history.records import summarize
from blendin_local.history.tree import Tree, Turn
from blendin_local.safe_text import sanitize
from blendin_local.settings import BlendSettings, GenerationSettings, SamplingSettings

BREAKING = (
    "# A title\n\ntext", "text\n---\nmore", "---", "```\nnever closed", "~~~~", "<!-- never closed",
    "<script>", "<details>\n\nopen", "> quoted\n# and a title", "- a list\n\n  ```\n  open", "a <b>word</b>",
    "    code", "[x]: y", "| a |\n|---|\n| b |", "1. one\n2. two", "\\", "`", "<![CDATA[",
    "```text\n````\n<b>", "\t\tMakefile",
)  # fmt: skip
HOSTILE = (
    '</script><script>alert(1)</script><img src="https://x.y/z" onerror=alert(1)>',
    "[a](javascript:alert(1)) [b](data:text/html,x) ![c](https://x.y/z) <https://ok.org/?a=1&b> [d](//x.y)",
    "'\"><b style=color:red>&lt; &#x202e;gnp.exe",
    "<!--<script>{{ turn }} {% raw %}",
    "| a |\n|--:|\n| b |",
)


def headings(markdown: str) -> list[str]:
    """Top headings as a renderer sees them."""
    tokens = MarkdownIt("commonmark").enable("table").parse(markdown)
    return [
        content.content
        for heading, content in pairwise(tokens)
        if heading.type == "heading_open" and heading.tag in ("h1", "h2") and heading.level == 0
    ]


# Markdown


@pytest.mark.parametrize("text", [*BREAKING, *HOSTILE, *AWKWARD])
def test_no_message_breaks_out_of_its_place(text: str) -> None:
    markdown = as_markdown("Title", PLAIN, conversation(text, text, "and then", "the end"))
    assert headings(markdown) == ["Title", "You", "Reply", "You", "Reply"]
    assert not any(token.type.startswith("html") for token in MarkdownIt("commonmark").parse(markdown))


@given(st.text(st.sampled_from("#->`~=<!| \n\ta1.*[]:")))
def test_no_mix_of_signs_breaks_out_either(text: str) -> None:
    assert headings(as_markdown("Title", PLAIN, conversation(text, "x"))) == ["Title", "You", "Reply"]


@pytest.mark.parametrize("text", ["plain *text*\n\n```py\n# no title\n```", "### small\n\n- a\n- b", "a\tb"])
def test_what_breaks_nothing_stands_as_it_is(text: str) -> None:
    assert f"\n\n{text}\n\n" in as_markdown("Title", PLAIN, conversation(text, "x"))


def test_titles_and_names_act_on_nothing() -> None:
    setup = replace(PLAIN, base="a_b*c\n# d", system="# Be brief")
    markdown = as_markdown("<b>*One*\n# Two", setup, conversation("x", "y", setup=setup))
    assert headings(markdown) == [r"\<b\>\*One\* \# Two", "System prompt", "You", "Reply"]
    assert r"- Base: a\_b\*c \# d" in markdown


def test_markdown_is_the_current_path() -> None:
    tree = conversation("first", "one", "second", "two")
    tree.add(Turn("assistant", "another", "0", setup=PLAIN))
    path = as_markdown("T", PLAIN, tree)
    assert headings(path) == ["T", "You", "Reply (2/2)"]
    assert "another" in path
    assert "second" not in path


def test_each_reply_has_its_figures_and_what_it_was_asked_with_where_that_differs() -> None:
    tree = conversation("q", "one two three four")
    settings = GenerationSettings(BlendSettings(gamma=0.6), SamplingSettings(temperature=0.5), seed=9)
    tree.turns["1"].setup = replace(PLAIN, settings=settings)
    markdown = as_markdown("T", PLAIN, tree)
    assert "*4 tokens · intervened 75% · changed 0% · guide words 50% · " in markdown
    assert " · seed 9*" in markdown
    assert "*Asked with gamma 0.6, temperature 0.5*" in markdown


# JSON

SHARE = st.floats(0, 1)


def _measured(name: str, kind: Any) -> st.SearchStrategy[Any]:
    if name == "candidates":
        listed = st.lists(CANDIDATE.map(lambda each: replace(each, probability=0.5)), max_size=3).map(tuple)
        return st.none() | st.builds(Candidates, listed, listed, listed)
    if "float" in str(kind):
        return SHARE if kind is float else st.none() | SHARE
    return values_of(kind)


STEPS = st.lists(
    st.builds(Step, **{name: _measured(name, kind) for name, kind in get_type_hints(Step).items()}),
    max_size=4,
)
TEXT = st.text(max_size=5) | st.sampled_from([*AWKWARD, *HOSTILE, "\ud800"])


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    tree = Tree()
    for i in range(draw(st.integers(0, 6))):
        parent = draw(st.sampled_from([None, *tree.turns]))
        turn = Turn(draw(st.sampled_from(["user", "assistant"])), draw(TEXT), parent, f"{i}", draw(SHARE))
        if turn.is_reply:
            turn.steps = draw(STEPS)
            turn.summary = summarize(turn.steps, draw(st.integers(0, 2)))
            turn.finish_reason = turn.summary.finish_reason = draw(st.sampled_from(["stop", "context", None]))
            turn.summary.timings = Timings(*draw(st.tuples(*[SHARE] * 5)))
            turn.summary.charge({"base_decoded": 3})
            turn.setup = draw(st.sampled_from([None, SETUP, PLAIN]))
            turn.forked_from, turn.fork, turn.dropped = draw(st.sampled_from([(None, None, 0), ("0", 2, 1)]))
            turn.error, turn.models, turn.calibrated = draw(TEXT), {"base": draw(TEXT)}, draw(st.booleans())
        tree.add(turn)
    if tree.turns:
        tree.select(tree.turns[draw(st.sampled_from(sorted(tree.turns)))])
    return Tree(tree.turns.values(), tree.leaf)


@given(TEXT, trees())
def test_json_brings_everything_back(title: str, tree: Tree) -> None:
    document = as_json(title, SETUP, tree)
    document.encode()
    back_title, setup, back = read_json(document)
    assert (back_title, setup, everything(back)) == (title, SETUP, everything(tree))


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("", "is not JSON"),
        pytest.param("[" * 100_000, "is not JSON", id="deep"),
        ('{"format": "another"}', "is not a conversation of blendin"),
        ('{"format": "blendin conversation", "version": 2}', "has version 2 of the format, not 1: update"),
        ('{"format": "blendin conversation", "version": 1}', "is damaged: title is not a text."),
    ],
)
def test_a_foreign_document_is_named_so(document: str, message: str) -> None:
    with pytest.raises(HistoryError, match=f"^x.json {re.escape(message)}"):
        read_json(document, "x.json")


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("leaf", "nowhere", "a turn refers to one that does not exist"),
        ("turns.0.parent", "1", "turns form a cycle"),
        ("turns.1.id", "0", "two turns have the same id"),
        ("turns.0.role", "system", "turns[0].role is none of user, assistant"),
        ("turns.1.steps", None, "turns[1].steps is not a list"),
        ("turns.1.steps.0.source", "oracle", "turns[1].steps[0].source is none of base,"),
        ("turns.1.steps.0.c_b", -0.5, "turns[1].steps[0].c_b is not between 0 and 1"),
        ("turns.1.steps.0.base_tokens", [True], "turns[1].steps[0].base_tokens[0] is not a whole number"),
        ("turns.1.steps.0.alpha", float("nan"), "turns[1].steps[0].alpha is not a number"),
        (
            "turns.1.steps.0.candidates.guide.1.text_base64",
            "?",
            "candidates.guide[1].text_base64 is not base64",
        ),
        ("turns.1.models", {"\x1b": 3}, "turns[1].models.␛ is not a text"),
        ("turns.1.setup.settings.blend.gamma", 2, "turns[1].setup.settings.blend: gamma must be between"),
        ("turns.1.timings", 3, "turns[1].timings is not an object"),
    ],
)
def test_damage_is_said_with_its_place(place: str, value: Any, message: str) -> None:
    document = json.loads(as_json("T", PLAIN, conversation("q", "one two")))
    *steps, last = (int(part) if part.isdigit() else part for part in place.split("."))
    inner = document
    for part in steps:
        inner = inner[part]
    inner[last] = value
    with pytest.raises(HistoryError, match=f"^This file is damaged: .*{re.escape(message)}"):
        read_json(json.dumps(document))


# The page


class Page(HTMLParser):
    """What a browser would see of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inside: dict[str, str] = {}
        self.texts: list[str] = []
        self.links: list[str] = []
        self._open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append((tag, found))
        if tag == "div" and (found.get("class") or "").startswith("text"):
            self.texts.append("")
            self._open = ["text"]
        elif tag in ("style", "script"):
            self._open = [found.get("id") or tag]
        elif tag == "a":
            self.links.append(found["href"] or "")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("div", "style", "script"):
            self._open = []

    def handle_data(self, data: str) -> None:
        if self._open == ["text"]:
            self.texts[-1] += data
        elif self._open:
            self.inside[self._open[0]] = self.inside.get(self._open[0], "") + data

    def attribute(self, tag: str, **wanted: str) -> dict[str, str | None]:
        return next(found for each, found in self.tags if each == tag and wanted.items() <= found.items())


@pytest.mark.parametrize("text", [*BREAKING, *HOSTILE, *AWKWARD, "\ud800"])
def test_the_page_shows_hostile_text_and_nothing_acts(text: str) -> None:
    page = as_page(text, replace(PLAIN, system=text), conversation(text, text))
    page.encode()
    assert not set(page) & {chr(code) for code in (*range(9), *range(11, 32), 127, 0x202E)}
    seen = Page(page)
    assert seen.texts == [
        sanitize(text).strip("\n"),
        sanitize(text).lstrip() if text.strip() else sanitize(text).strip("\n"),
    ]
    assert [tag for tag, _ in seen.tags].count("script") == 2
    assert not {"img", "iframe", "link", "object", "form", "base"} & {tag for tag, _ in seen.tags}
    assert not [
        name for _, found in seen.tags for name in found if name in ("src", "style") or name[:2] == "on"
    ]
    assert all(link.startswith(("http://", "https://", "mailto:")) for link in seen.links)


def test_web_addresses_stay_links_that_tell_nobody() -> None:
    seen = Page(as_page("T", PLAIN, conversation(HOSTILE[1], "x")))
    assert seen.links == ["https://x.y/z", "https://ok.org/?a=1&b"]
    assert seen.attribute("a")["rel"] == "noreferrer noopener nofollow"


def test_the_policy_allows_the_pages_own_script_and_style_and_nothing_else() -> None:
    seen = Page(as_page("", PLAIN, Tree()))
    policy = seen.attribute("meta", **{"http-equiv": "Content-Security-Policy"})["content"] or ""
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules.pop("default-src") == rules.pop("base-uri") == rules.pop("form-action") == "'none'"
    for name in ("script", "style"):
        digest = base64.b64encode(hashlib.sha256(seen.inside[name].encode()).digest()).decode()
        assert rules.pop(f"{name}-src") == f"'sha256-{digest}'"
    assert not rules


def test_every_word_leads_to_its_step_and_every_step_to_its_figures() -> None:
    seen = Page(as_page("T", PLAIN, conversation("q", "one two three four")))
    classes = [seen.attribute("span", **{"data-step": step})["class"] for step in ("0", "1")]
    assert classes == ["base", "guide a2 c2 d1"]
    data = json.loads(seen.inside["data"])
    source, token, why, figures, base, guide, blend = data["steps"][1][1]
    assert data["speakers"][source] == "the guide's choice"
    assert data["tokens"][token] == "two·"
    assert "α = clip(c_g / (c_b + c_g) + 0.1·a, 0, 1)" in why
    named = dict(zip(data["figures"], figures, strict=True))
    assert (named["base confidence c_b"], named["weight α"], named["reliability"]) == (3000, 6800, -1)
    assert [data["tokens"][place] for place in base[::2]] == ["two·", "\\xff", "(stop)"]
    assert (base[1::2], guide[1::2], blend[1::2]) == ([2500, 1250, 625], [2500, 1250], [2500])


def test_a_character_of_several_steps_belongs_to_the_last_of_them() -> None:
    tree = conversation("q", "x")
    halves = [replace(word(0, ""), data=b"\xc3"), replace(word(1, "é"), data=b"\xa9")]
    tree.turns["1"].steps, tree.turns["1"].text = halves, "é"
    seen = Page(as_page("T", PLAIN, tree))
    assert [found["data-step"] for tag, found in seen.tags if "data-step" in found] == ["1"]
    data = json.loads(seen.inside["data"])
    assert data["tokens"][data["steps"][1][0][1]] == "\\xc3"


def test_every_branch_is_there_and_the_current_path_shows() -> None:
    tree = conversation("first", "one", "second", "two")
    tree.add(Turn("assistant", "another", "0", setup=PLAIN))
    seen = Page(as_page("T", PLAIN, tree))
    shown = ["hidden" not in found for tag, found in seen.tags if tag == "article"]
    assert list(zip(seen.texts, shown, strict=True)) == [
        ("first", True), ("one", False), ("second", False), ("two", False), ("another", True),
    ]  # fmt: skip
    data = json.loads(seen.inside["data"])
    assert (data["parents"], data["path"]) == ([-1, 0, 1, 2, 0], [0, 4])
    assert [found["data-to"] for tag, found in seen.tags if "data-to" in found] == ["4", "1"]
