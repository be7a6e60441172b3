"""Tests of the chat as a process in a terminal, with keys as input and the screen as output."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

if sys.platform == "win32":
    pytest.skip("there are no such terminals", allow_module_level=True)

from support.terminal import CTRL_C, CTRL_O, CTRL_Q, CTRL_R, DOWN, ENTER, ESC, F5, F6, RIGHT, TAB, Terminal
from support.tiny_gguf import never_ending, write_tiny

from blendin_local.history.store import SavedConversation, Store
from blendin_local.history.tree import Turn
from blendin_local.models.loading import PairFiles

pytestmark = pytest.mark.slow

ENDLESS = "60000"
"""Token limit that tiny models reach after a minute; no test waits for it."""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("models")
    base = write_tiny(folder / "base.gguf", n_ctx_train=1 << 16, bias=never_ending())
    guide = write_tiny(folder / "guide.gguf", vocabulary="bpe", n_ctx_train=1 << 16, bias=never_ending("bpe"))
    return str(base), str(guide)


Opens = Callable[..., Terminal]


@pytest.fixture
def opens(models: tuple[str, str]) -> Opens:
    """Return a function that opens a chat with the tiny pair, from options and the size of the terminal."""

    def chat(*options: str, **terminal: object) -> Terminal:
        pair = () if "--resume" in options else ("--base", models[0], "--guide", models[1])
        fixed = ("--n-ctx", "0", "--threads", "1", "--no-guide-stop")
        return Terminal("-m", "blendin_local", "chat", *pair, *fixed, *options, **terminal)  # type: ignore[arg-type]

    return chat


@pytest.fixture
def in_tokens(tmp_path: Path) -> None:
    """Show finished replies as tokens, because random text may contain Markdown syntax."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "config.toml").write_text('[chat]\nview = "tokens"\n')


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """The database of the chats."""
    return Store(tmp_path / "data" / "conversations.db")


def latest(store: Store) -> SavedConversation:
    return store.open(store.list()[0].id)


def last(store: Store) -> Turn:
    return latest(store).tree.path()[-1]


def squeezed(text: str) -> str:
    """Return a text without white space, to compare it regardless of wrapping."""
    return "".join(text.split())


def words_of_the_reply(screen: str, growing: int = 1) -> str:
    """Return four rows above the status line, without the last `growing` rows, which may still change."""
    rows = re.sub("[▁-█]", "", screen.partition("  ●")[0]).rstrip().splitlines()
    return squeezed("".join(rows[-4 - growing : len(rows) - growing]))


def last_words(screen: str) -> str:
    """Return the last four rows of a stopped reply."""
    return words_of_the_reply(screen.partition("stopped ·")[0], growing=0)


def tokens(screen: str) -> int:
    """Return the number of tokens in the status line."""
    counted = re.search(r"● .* (\d+) tokens", screen)
    return int(counted[1]) if counted else 0


def go_to_the_conversation(terminal: Terminal) -> None:
    terminal.send(TAB)
    terminal.wait("⏎ Inspect")


def quits(terminal: Terminal) -> None:
    terminal.send(CTRL_Q)
    assert terminal.end() == 0
    assert terminal.as_it_was
    assert "Traceback" not in terminal.said


def hold_a_conversation(terminal: Terminal, folder: Path) -> None:
    """Use every screen of the chat once."""
    terminal.wait("● Ready")
    terminal.send("Tell me about the sea.", ENTER)
    terminal.wait("cut off at the token limit")
    assert "❯ Tell me about the sea." in terminal.text

    # Inspect a token and branch to another candidate.
    terminal.send(F6)
    terminal.wait("● Ready", gone="Markdown")
    go_to_the_conversation(terminal)
    terminal.send(RIGHT, RIGHT, "i")
    terminal.wait(lambda screen: re.search(r"\b2 of \d+ ", screen))
    terminal.send(DOWN, "3")
    # No branch leads to the candidate that was drawn, which is a matter of chance.
    if "is what was chosen" in terminal.wait(
        lambda screen: re.search("2/2 · cut off|what was chosen", screen)
    ):
        terminal.send("2")
    terminal.wait("2/2 · cut off")
    terminal.wait("● Ready")
    terminal.send(ESC)
    terminal.wait("Inspect", gone="⏎ Branch")
    terminal.send("[")
    terminal.wait("1/2 · cut off")
    terminal.send(ESC)
    terminal.wait("● Ready", gone="Inspect")

    # Compare all methods.
    terminal.send("And the moon?", F5)
    terminal.wait(lambda screen: all(f"{place} goes on with it" in screen for place in range(1, 5)))
    terminal.send("2", CTRL_O)
    terminal.wait("● Tell me about")
    terminal.send(ESC)
    terminal.wait("● Ready", gone="Search")
    assert "2/4 · cut off" in terminal.text

    terminal.send(f"/export {folder}/talk.json", ENTER)
    terminal.wait("Written to")
    turns = json.loads((folder / "talk.json").read_text("utf-8"))["turns"]
    assert [turn["role"] for turn in turns].count("user") == 2
    assert [turn["role"] for turn in turns].count("assistant") == 6

    terminal.send(CTRL_C)
    terminal.wait("to quit the app")
    terminal.send("still here")
    terminal.wait("still here")
    quits(terminal)


def test_a_whole_conversation(opens: Opens, tmp_path: Path) -> None:
    with opens("-n", "12", size=(120, 40)) as terminal:
        hold_a_conversation(terminal, tmp_path)


@pytest.mark.real
def test_the_same_with_the_demo_pair(demo_files: PairFiles, tmp_path: Path) -> None:
    base, guide = str(demo_files.base.path), str(demo_files.guide.path)
    pair = ["--base", base, "--guide", guide, "--no-guide-stop", "--gamma", "1", "--seed", "1"]
    with Terminal("-m", "blendin_local", "chat", *pair, "-n", "4") as terminal:
        hold_a_conversation(terminal, tmp_path)


@pytest.mark.usefixtures("in_tokens")
def test_a_reply_is_stopped_after_resizes_and_continued(opens: Opens, store: Store) -> None:
    with opens("-n", ENDLESS) as terminal:
        terminal.wait("● Ready")
        terminal.send("hello", ENTER)
        terminal.wait(lambda screen: tokens(screen) > 100)
        terminal.resize(120, 40)
        terminal.wait("│ guide ")
        terminal.resize(60, 12)
        terminal.wait(f"╭{'─' * 58}╮")
        terminal.resize(80, 24)
        terminal.wait(f"╭{'─' * 78}╮")
        terminal.send(ESC)
        stopped = tokens(terminal.wait("stopped ·"))
        # The last tokens are saved shortly after they are shown.
        terminal.wait(lambda screen: squeezed(last(store).text).endswith(last_words(screen)))
        reply = last(store)
        assert reply.finish_reason == "cancelled"
        go_to_the_conversation(terminal)
        terminal.send("c")
        terminal.wait(lambda screen: tokens(screen) > stopped + 50)
        quits(terminal)
    longer = last(store)
    assert longer.id == reply.id
    assert longer.text.startswith(reply.text)


def test_other_models_are_loaded_into_the_chat(opens: Opens, models: tuple[str, str]) -> None:
    with opens("-n", "8") as terminal:
        terminal.wait("● Ready")
        terminal.send(f"/pair {models[1]} {models[0]}", ENTER)
        terminal.wait("guide + base")
        terminal.wait("● Ready")
        terminal.send("hello", ENTER)
        terminal.wait("cut off at the token limit")
        quits(terminal)


def test_a_paste_with_escape_characters_keeps_its_order_and_presses_no_key(
    opens: Opens, store: Store
) -> None:
    lines = ["a\x1b[31mb\x1b[0mc", "d\x1bOQ\x1b\x11e", *(f"line {i}\x1b[0m" for i in range(2000)), "end"]
    with opens("-n", "1", size=(80, 24)) as terminal:
        terminal.wait("● Ready")
        terminal.send("x", f"\x1b[200~{chr(13).join(lines)}\x1b[201~", "y")
        terminal.wait("endy")
        terminal.send(ENTER)
        terminal.wait("cut off at the token limit")
        quits(terminal)
    question = latest(store).tree.path()[0].text
    assert question == f"x{chr(10).join(lines)}y".replace("\x1b", "␛").replace("\x11", "␑")


def test_bytes_that_are_not_utf_8_do_not_end_the_chat(opens: Opens) -> None:
    with opens() as terminal:
        terminal.wait("● Ready")
        os.write(terminal.ours, b"a\xe9 b\xff")
        terminal.send("c")
        terminal.wait("a\ufffd b\ufffdc")
        quits(terminal)


def test_quitting_while_a_reply_is_written(opens: Opens) -> None:
    with opens("-n", ENDLESS) as terminal:
        terminal.wait("● Ready")
        terminal.send("hello", ENTER)
        terminal.wait(lambda screen: tokens(screen) > 20)
        quits(terminal)


def test_quitting_while_models_load(opens: Opens) -> None:
    with opens() as terminal:
        # Loading may end before a whole frame is read, so look at the raw output.
        terminal.wait(lambda screen: "oading" in terminal.said)
        quits(terminal)


LOADS = """
import time
import blendin_local.tui.loading as loading

def pair_loader(*given):
    def load(progress):
        while progress("base", 0.5):
            time.sleep(0.01)
        raise RuntimeError("It was cancelled.")
    return load

loading.pair_loader = pair_loader
from blendin_local.cli import main
main()
"""
"""A chat whose models load until the load is cancelled."""


@pytest.mark.parametrize(
    "told",
    [lambda terminal: terminal.signal(signal.SIGHUP), Terminal.hang_up],
    ids=["SIGHUP", "closed window"],
)
def test_closing_the_window_while_models_load(
    models: tuple[str, str], told: Callable[[Terminal], None]
) -> None:
    with Terminal("-c", LOADS, "chat", "--base", models[0], "--guide", models[1]) as terminal:
        terminal.wait("50%")
        told(terminal)
        assert terminal.end() == 128 + signal.SIGHUP
        assert "Traceback" not in terminal.said


@pytest.mark.parametrize(
    ("told", "status"),
    [
        pytest.param(lambda terminal: terminal.signal(signal.SIGTERM), 128 + signal.SIGTERM, id="SIGTERM"),
        pytest.param(
            lambda terminal: terminal.signal(signal.SIGHUP), 128 + signal.SIGHUP,
            id="SIGHUP", marks=pytest.mark.nightly,
        ),
        pytest.param(Terminal.hang_up, 128 + signal.SIGHUP, id="closed window", marks=pytest.mark.nightly),
    ],
)  # fmt: skip
def test_a_reply_is_saved_when_a_signal_ends_the_chat(
    opens: Opens, store: Store, told: Callable[[Terminal], None], status: int
) -> None:
    with opens("-n", ENDLESS) as terminal:
        terminal.wait("● Ready")
        terminal.send("hello", ENTER)
        terminal.wait(lambda screen: tokens(screen) > 300)
        seen = words_of_the_reply(terminal.text)
        told(terminal)
        assert terminal.end() == status
        assert terminal.ours < 0 or status != 128 + signal.SIGTERM or terminal.as_it_was
    reply = last(store)
    assert seen in squeezed(reply.text)
    assert squeezed(reply.text) == squeezed("".join(step.text for step in store.load_steps(reply.id)))


@pytest.mark.usefixtures("in_tokens")
def test_a_killed_chat_is_resumed_where_it_was(opens: Opens, store: Store) -> None:
    with opens("-n", "8") as terminal:
        terminal.wait("● Ready")
        for typed, shown in (
            ("/gamma 0.31", "γ 0.31"),
            ("/system Be kind.", "system prompt"),
            ("hello", "cut off at the token limit"),
            ("/again", "2/2 · cut off"),
            (f"/max-tokens {ENDLESS}", "From the next reply on"),
            ("and then?", "● Writing"),
        ):
            terminal.send(typed)
            terminal.wait(f"│ {typed}")
            terminal.send(ENTER)
            terminal.wait(shown, gone=f"│ {typed}")
        terminal.wait(lambda screen: tokens(screen) > 300)
        seen = words_of_the_reply(terminal.text)
        terminal.wait(lambda screen: seen in squeezed(last(store).text))
        before = latest(store)
        terminal.process.kill()
        assert terminal.end() == -signal.SIGKILL

    with opens("--resume") as terminal:
        terminal.wait("● Ready")
        assert "γ 0.31" in terminal.text
        assert "stopped ·" in terminal.text
        after = latest(store)
        assert after.setup == before.setup
        assert after.setup.system == "Be kind."
        assert after.tree.leaf == before.tree.leaf
        shape = [(turn.id, turn.parent, turn.role, turn.setup) for turn in before.tree.turns.values()]
        assert shape == [(turn.id, turn.parent, turn.role, turn.setup) for turn in after.tree.turns.values()]
        reply = after.tree.path()[-1]
        assert reply.finish_reason == "cancelled"
        assert seen in squeezed(reply.text)
        assert squeezed(reply.text).endswith(last_words(terminal.text))
        had = tokens(terminal.text)
        go_to_the_conversation(terminal)
        terminal.send("c")
        terminal.wait(lambda screen: tokens(screen) > had + 50)
        quits(terminal)
    assert last(store).text.startswith(reply.text)


def test_two_running_chats_share_their_conversations(opens: Opens, store: Store) -> None:
    with opens("-n", "8") as one, opens("-n", "8") as other:
        for terminal, question in ((one, "first question"), (other, "second question")):
            terminal.wait("● Ready")
            terminal.send(question, ENTER)
        for terminal in (one, other):
            terminal.wait("cut off at the token limit")
            terminal.send(CTRL_R)
        for terminal in (one, other):
            terminal.wait("2/2 · cut off")
        one.wait(lambda screen: len(store.list()) == 2)
        for terminal in (one, other):
            terminal.send(CTRL_O)
        for terminal in (one, other):
            listed = terminal.wait("2 conversations")
            assert "first question" in listed and "second question" in listed
            terminal.send(ESC)
            terminal.wait("● Ready", gone="Search")
            quits(terminal)
    kept = [store.open(listed.id) for listed in store.list()]
    assert sorted(len(each.tree.turns) for each in kept) == [3, 3]


@pytest.mark.parametrize(
    ("size", "environment"),
    [
        ((80, 24), {"TERM": None, "LC_ALL": "C", "NO_COLOR": "1"}),
        ((80, 24), {"PYTHONUTF8": "0", "PYTHONIOENCODING": "latin-1"}),
        ((20, 5), {}),
    ],
    ids=["no TERM and no locale", "Latin-1", "20 x 5"],
)
def test_unusual_terminals(
    opens: Opens, store: Store, size: tuple[int, int], environment: dict[str, str | None]
) -> None:
    with opens("-n", "8", size=size, environment=environment) as terminal:
        terminal.wait("● Rea" if "PYTHONUTF8" not in environment else "Ready")
        terminal.send("hällo wörld", ENTER)
        terminal.wait(lambda screen: store.list() and len(latest(store).tree.turns) == 2)
        assert latest(store).tree.path()[0].text == "hällo wörld"
        assert "\\u" not in terminal.said
        quits(terminal)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda folder: (folder / "data").write_text(""), "cannot be saved in"),
        (
            lambda folder: (folder / "data" / "conversations.db").write_bytes(b"no database" * 99),
            "is damaged",
        ),
        (lambda folder: (folder / "config" / "config.toml").write_text("[chat"), "config.toml"),
    ],
    ids=["no folder", "damaged database", "damaged preferences"],
)
def test_unreadable_files_are_reported_before_the_screen_opens(
    opens: Opens, tmp_path: Path, spoil: Callable[[Path], object], says: str
) -> None:
    (tmp_path / "config").mkdir()
    if says == "is damaged":
        (tmp_path / "data").mkdir()
    spoil(tmp_path)
    with opens(size=(400, 10)) as terminal:
        assert terminal.end() == 2
        [line] = terminal.text.split("\n", 1)[:1]
        assert line.startswith("Error: ") and says in line
        assert not terminal.text.partition("\n")[2].strip()
        assert ("--no-keep" in line) == ("config" not in says)
        assert terminal.as_it_was
