"""Paths, texts and TOML documents of users: whatever they are, they are read or refused in one sentence."""

from __future__ import annotations

import ast
import contextlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import blendin_local
from blendin_local.cli.outputs import check_writable
from blendin_local.errors import EvaluationError
from blendin_local.files import (
    edit_toml,
    is_file_name,
    local_path,
    parse_toml,
    read_text,
    real_path,
    write_bytes,
)


@pytest.fixture
def circle(tmp_path: Path) -> Path:
    """A symbolic link to a link to it."""
    for name, target in (("one", "two"), ("two", "one")):
        (tmp_path / name).symlink_to(target)
    return tmp_path / "one"


def test_links_in_a_circle_have_a_path(circle: Path) -> None:
    assert real_path(circle) == circle
    assert real_path(circle / "below") == circle / "below"
    assert real_path(Path("a\0b")) == Path.cwd() / "a\0b"


def test_the_home_of_nobody_is_a_name() -> None:
    assert local_path("~nosuchuser/x") == Path("~nosuchuser/x")
    assert local_path("~/x") == Path.home() / "x"


def test_only_one_module_follows_links_and_homes() -> None:
    """Both raise what differs between versions of Python."""
    package = Path(blendin_local.__file__).parent
    for path in package.rglob("*.py"):
        called = {
            node.func.attr
            for node in ast.walk(ast.parse(path.read_text("utf-8")))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
            and not (isinstance(node.func.value, ast.Attribute) and node.func.value.attr == "path")
        }  # fmt: skip
        if path.name != "files.py" or path.parent != package:
            assert not called & {"resolve", "expanduser"}, path


def test_texts_that_are_none_are_refused_with_a_reason(tmp_path: Path, circle: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "long").write_bytes(b"x" * 99)
    (tmp_path / "wide").write_bytes("text".encode("utf-16"))
    reasons = {tmp_path: "it is a folder", tmp_path / "pipe": "not a file", tmp_path / "wide": "UTF-16"}
    for path, reason in reasons.items():
        with pytest.raises(ValueError, match=reason):
            read_text(path)
    with pytest.raises(ValueError, match="longer than"):
        read_text(tmp_path / "long", longest=98)
    for missing in (circle, tmp_path / "none", tmp_path / "long" / "below"):
        with pytest.raises((FileNotFoundError, ValueError)):
            read_text(missing)
    with pytest.raises(ValueError, match="name too long"):
        read_text(tmp_path / ("x" * 5000))


def test_writing_replaces_nothing_but_files(tmp_path: Path, circle: Path) -> None:
    """A report that was written to a device as root put a file in its place."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    before = {path: path.lstat().st_mode for path in tmp_path.iterdir()}
    for path in (tmp_path / "pipe", tmp_path / "link", circle):
        with pytest.raises(OSError, match=r"."):
            write_bytes(path, b"x")
        with pytest.raises(EvaluationError, match=r"--report .* (is a device or a pipe|cannot be written)"):
            check_writable("--report", path)
    assert {path: path.lstat().st_mode for path in tmp_path.iterdir()} == before


DEEP = ["a=" + "[" * 5000 + "]" * 5000, "a=" + "{a=" * 500 + "1" + "}" * 500, ".".join("a" * 5000) + "=1"]
ODD = [
    "a=0x" + "f" * 5000,
    "a=" + "9" * 4000,
    "a=[{b=[" + "9" * 4000 + "]}]",
    "a",
    "[[a",
    "a=1\na=2",
    "a='\0'",
]


@pytest.mark.parametrize("text", [*DEEP, *ODD], ids=lambda text: text[:6])
def test_toml_that_is_none_is_refused_with_a_reason(text: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        parse_toml(text)
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match=r"."):
        edit_toml(text, lambda document: document.update(b=1))


def test_long_words_cost_their_length_only() -> None:
    # Five megabytes would take hours in quadratic time.
    for text in ("a = '{}'", "# {}", '"{}" = 1', "a = '''\n{}'''"):
        assert parse_toml(text.format("x" * 5_000_000)) is not None


def test_a_document_that_would_take_minutes_is_not_edited() -> None:
    with pytest.raises(ValueError, match="edit it by hand"):
        edit_toml("".join(f"key{i} = 1\n" for i in range(100_000)), lambda document: None)


@given(st.text(max_size=40))
def test_any_text_is_toml_or_refused(text: str) -> None:
    for call in (parse_toml, lambda text: edit_toml(text, lambda document: document.update(b=1))):
        with contextlib.suppress(ValueError):
            call(text)


@pytest.mark.parametrize("name", ["a.gguf", "Modell ä (1).gguf", "模型.gguf", "a" * 200])
def test_plain_names_are_file_names(name: str) -> None:
    assert is_file_name(name)


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".x", "a/b", "a\\b", "c:x", "a\0", "a\n", "a" * 201, "日" * 70, "\u202ex"]
)
def test_other_names_are_none(name: str) -> None:
    assert not is_file_name(name)
