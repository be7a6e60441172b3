"""Tests of rendering Markdown to lines."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.markdown import Markdown
from support.awkward import AWKWARD

from blendin_local.safe_text import sanitize
from blendin_local.tui.markdown_lines import code_blocks, markdown_lines


def shown(text: str, width: int = 60) -> list[str]:
    lines = markdown_lines(text, width, dark=True, styles={"markdown.h1": "bold red"})
    assert lines
    for segment in (segment for line in lines for segment in line):
        assert not segment.control
        assert not (segment.style and segment.style.link)
    return ["".join(segment.text for segment in line).rstrip() for line in lines]


def test_markdown_is_formatted() -> None:
    text = "# Title\n\nSome *words*, a [link](http://x.org):\n\n1. one\n2. two\n\n```python\nx = 1\n```"
    assert [line for line in shown(text) if line] == [
        "Title", "Some words, a link (http://x.org):", " 1 one", " 2 two", " x = 1",
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["a <b>c</b> List<int> <script>d</script>", "<div>\n<p>hello</p>\n</div>"])
def test_html_tags_are_shown_as_text(text: str) -> None:
    assert "".join(" ".join(shown(text)).split()) == "".join(text.split())


PATHOLOGICAL = {
    "quotes": "> " * 500 + "deep inside",
    "marks alone": ">" * 500,
    "brackets": "[" * 2000,
    "lists": "\n".join("  " * depth + f"- item{depth}" for depth in range(200)),
    "a wide table": "\n".join("|" + cell * 200 for cell in ("name|", "-|", "cell|")),
    "an open fence": "`" * 5000,
    "an empty fence": "```python",
    "a long word": "x" * 20_000,
    "wide words": "東" * 2000,
}


@pytest.mark.parametrize("name", PATHOLOGICAL)
def test_text_that_rendering_would_drop_is_shown_as_written(name: str) -> None:
    text = PATHOLOGICAL[name]
    assert "".join("".join(shown(text)).split()) == "".join(text.split())


def test_an_error_of_the_markdown_library_costs_only_the_formatting(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object) -> None:
        raise RecursionError

    monkeypatch.setattr(Markdown, "__rich_console__", broken)
    assert shown("*one*\ntwo \x1b") == ["*one*", "two ␛"]


def test_entities_are_sanitized() -> None:
    assert shown("a&#x202e;b &amp;") == ["a�b &"]
    said = "".join(shown("a&#x202e;b&#x1b;[31mc `&#x202e;` ![&#x202e;](x)\n\n# &#x202e;"))
    assert said == sanitize(said)


@given(st.one_of(st.text(), st.text(st.sampled_from("*_`[]()<>|-# \n1.&x")), st.sampled_from(AWKWARD)))
def test_any_text_becomes_sanitized_lines_that_fit(text: str) -> None:
    for width in (2, 20):
        for line in shown(text, width):
            assert line == sanitize(line)
            assert cell_len(line) <= width


def test_code_blocks_are_returned_unchanged() -> None:
    text = "one\n```\na\tb\x1b\n```\ntwo\n\n    indented\n\n~~~py\nc\n"
    assert code_blocks(text) == ["a\tb\x1b\n", "indented\n", "c\n"]
    assert code_blocks("no code") == []
