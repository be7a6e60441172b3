"""Tests of mentioned files in messages."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from blendin_local.errors import PromptError
from blendin_local.tui.mentions import LARGEST, Expanded, complete_path, expand


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    (folder / "sub").mkdir(parents=True)
    (folder / "notes.txt").write_text("one\ntwo\n", "utf-8")
    (folder / "my file.txt").write_text("spaced", "utf-8")
    (folder / "sub" / "ünï.md").write_text("# Title", "utf-8")
    (folder / ".hidden").touch()
    return folder


def test_a_mentioned_file_is_inserted_before_the_message(folder: Path) -> None:
    done = expand("Sum up @notes.txt please", folder)
    assert done.text == "notes.txt:\n```\none\ntwo\n```\n\nSum up notes.txt please"
    assert done.files == (folder / "notes.txt",) and done.missing == ()


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("@notes.txt", "notes.txt"),
        ("Read @notes.txt, then @notes.txt.", "Read notes.txt, then notes.txt."),
        ("(@notes.txt)", "(notes.txt)"),
        ('Read @"notes.txt"!', "Read notes.txt!"),
        ("a\n@notes.txt\nb", "a\nnotes.txt\nb"),
    ],
)
def test_a_mention_starts_at_a_word_and_ends_before_punctuation(
    folder: Path, typed: str, message: str
) -> None:
    done = expand(typed, folder)
    assert done.files == (folder / "notes.txt",)
    assert done.text.count("one\ntwo") == 1
    assert done.text.endswith("```\n\n" + message)


def test_mentions_have_quoted_names_and_folders(folder: Path) -> None:
    done = expand(f'Compare @"my file.txt", @sub/ünï.md and @{folder}/notes.txt', folder)
    assert [path.name for path in done.files] == ["my file.txt", "ünï.md", "notes.txt"]


@pytest.mark.parametrize("text", ["me@notes.txt", "a @ b", "x/@notes.txt", "", "a\\@notes.txt"])
def test_text_without_mentions_is_unchanged(folder: Path, text: str) -> None:
    done = expand(text, folder)
    assert (done.text, done.files, done.missing) == (text, (), ())


def test_a_backslash_escapes_an_at_sign(folder: Path) -> None:
    done = expand('type \\@notes.txt or \\@"my file.txt"', folder)
    assert (done.text, done.files, done.missing) == ('type @notes.txt or @"my file.txt"', (), ())


def test_a_mention_without_a_file_stays_and_is_reported(folder: Path) -> None:
    done = expand("Thanks @anna, see @notes.txt/x and @" + "n" * 5000, folder)
    assert done.text == "Thanks @anna, see @notes.txt/x and @" + "n" * 5000
    assert done.missing == ("anna,", "notes.txt/x", "n" * 5000)
    assert expand("@~nobody_such/x @\0", folder).files == ()


def test_the_fence_is_longer_than_any_in_the_file(folder: Path) -> None:
    (folder / "code.md").write_text("```py\nx\n````\n", "utf-8")
    assert expand("@code.md", folder).text.startswith("code.md:\n`````\n```py\nx\n````\n`````\n")


def test_mentions_in_fenced_code_are_ignored(folder: Path) -> None:
    code = "Why?\n```python\n@notes.txt\n@nothing\n```\n"
    assert expand(code, folder).text == code and expand(code, folder).missing == ()
    once = expand(code + "@notes.txt", folder)
    assert once.files and expand(once.text, folder) == Expanded(once.text)
    unclosed = "```\n@notes.txt"
    assert expand(unclosed, folder).text == unclosed


def test_line_ends_and_byte_order_marks_are_normalized(folder: Path) -> None:
    (folder / "dos.txt").write_bytes(b"\xef\xbb\xbfa\r\nb\r\n")
    assert "\n```\na\nb\n```\n" in expand("@dos.txt", folder).text


def test_files_that_cannot_be_inserted_raise_prompt_error(folder: Path) -> None:
    (folder / "latin.txt").write_bytes(b"caf\xe9")
    (folder / "zero.bin").write_bytes(b"a\0b")
    (folder / "most.txt").write_bytes(b"x" * LARGEST)
    (folder / "big.txt").write_bytes(b"x" * (LARGEST + 1))
    os.mkfifo(folder / "pipe")
    for name, part in {
        "latin.txt": "not UTF-8",
        "zero.bin": "zero bytes",
        "big.txt": "256 KB is the most",
        "sub": "sub is a folder",
        "pipe": "not a file",
    }.items():
        with pytest.raises(PromptError, match=part) as caught:
            expand(f"see @{name}", folder)
        assert name in str(caught.value)
    assert expand("@most.txt", folder).files


def test_an_unreadable_file_raises_prompt_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(PromptError, match=r"Cannot read notes\.txt: Permission denied\."):
        expand("@notes.txt", folder)


def test_paths_are_completed(folder: Path) -> None:
    assert complete_path("", folder) == ["my file.txt", "notes.txt", "sub/"]
    assert complete_path("NO", folder) == ["notes.txt"]
    assert complete_path(".h", folder) == [".hidden"]
    assert complete_path("sub/", folder) == ["sub/ünï.md"]
    assert complete_path(f"{folder}/n", Path("/")) == [f"{folder}/notes.txt"]
    assert complete_path("none/", folder) == complete_path("notes.txt/", folder) == []
    assert complete_path("\0/", folder) == []


def test_names_that_a_terminal_cannot_show_are_not_offered(folder: Path) -> None:
    for name in ("x\x1b[31m", "x\ny", "x\u202ey", 'x"y', "x y"):
        (folder / name).touch()
    assert complete_path("x", folder) == ["x y"]


def test_a_chat_in_a_browser_reaches_one_folder(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = tmp_path / "outside.txt"
    outside.write_text("secret")
    (folder / "inside.txt").write_text("known")
    (folder / "link.txt").symlink_to(outside)
    monkeypatch.setenv("BLENDIN_FOLDER", str(folder))
    assert "known" in expand("@inside.txt", folder).text
    for name in (f"@{outside}", "@../outside.txt", "@link.txt", "@/etc/hostname", "@~/.bashrc"):
        found = expand(name, folder)
        assert found.text == name and len(found.missing) == 1, name
    assert complete_path("ins", folder) == ["inside.txt"]
    assert complete_path("../", folder) == complete_path("/", folder) == []
