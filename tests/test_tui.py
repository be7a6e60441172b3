"""The chat's screen driven by keys, on a scripted chat and on two tiny models."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from chat_fakes import ABOUT, FakeChat, FakeLoad, FakeReply, app_of, step, steps_of, wait_until
from textual.color import Color
from textual.pilot import Pilot
from textual.widgets import Footer, Static
from textual.widgets._footer import FooterKey
from tiny_gguf import write_tiny

from blendin_local.conversation import Conversation
from blendin_local.errors import ModelError, PromptError
from blendin_local.llamacpp.model import open_model
from blendin_local.pair import pair_models
from blendin_local.prompts import PLAIN_FORMATS
from blendin_local.settings import GenerationSettings, ModelOptions, SamplingSettings
from blendin_local.steps import Source
from blendin_local.tui.about import About
from blendin_local.tui.app import ChatApp, make_app
from blendin_local.tui.chat import PairChat, Progress
from blendin_local.tui.phase import Phase
from blendin_local.tui.screens.chat import ChatScreen
from blendin_local.tui.screens.help import FIGURES, KEYS, HelpScreen
from blendin_local.tui.widgets.loading_bar import LoadingBar
from blendin_local.tui.widgets.panel import Panel
from blendin_local.tui.widgets.transcript import Kind, Transcript
from blendin_local.tui.widgets.welcome import Welcome

WIDE, NARROW = (120, 40), (80, 24)


def screen_of(app: ChatApp) -> ChatScreen:
    screen = app.screen_stack[0]
    assert isinstance(screen, ChatScreen)
    return screen


def texts(app: ChatApp, kind: Kind | None = None) -> list[str]:
    entries = screen_of(app).transcript.entries
    return [entry.body.text for entry in entries if kind in (None, entry.kind)]


def visible(app: ChatApp) -> str:
    """What stands on the screen now."""
    size = app.size
    rows = app.screen._compositor.render_strips(size)
    return "\n".join("".join(segment.text for segment in row) for row in rows)


def shown(widget: Static) -> str:
    return str(widget.content)


async def ready(pilot: Pilot[None], app: ChatApp) -> None:
    await wait_until(pilot, lambda: screen_of(app).phase is Phase.READY)


async def say(pilot: Pilot[None], app: ChatApp, text: str) -> None:
    screen_of(app).prompt.insert(text)
    await pilot.press("enter")


async def ask(pilot: Pilot[None], app: ChatApp, text: str = "Why?") -> None:
    """Send a message and wait for the end of the reply."""
    await ready(pilot, app)
    await say(pilot, app, text)
    await pilot.pause()
    await ready(pilot, app)


# Sending


async def test_a_message_is_sent_and_the_reply_is_coloured_by_source() -> None:
    app, chat = app_of(FakeReply(steps_of("one two three four five six seven")))
    async with app.run_test(size=WIDE) as pilot:
        await ready(pilot, app)
        await pilot.press(*"Why?", "enter")
        await pilot.pause()
        await ready(pilot, app)
        assert chat.asked == ["Why?"]
        assert chat.kept == ["one two three four five six seven"]
        assert texts(app, Kind.USER) == ["Why?"]
        reply = screen_of(app).transcript.last_reply
        assert reply is not None
        first_line = list(reply.body.runs(*reply.body.lines[0]))
        assert [tag for _, tag in first_line] == ["base", "guide", "base", "both", "base", "blend"]
        assert dict(first_line)["seven"] == "blend"
        assert reply.body.text.endswith("\n7 tokens · 40/s · intervened 43% · changed 14% · guide words 29%")
        assert screen_of(app).prompt.text == ""
        assert screen_of(app).prompt.has_focus


async def test_a_blank_message_is_not_sent() -> None:
    app, chat = app_of()
    async with app.run_test() as pilot:
        await ready(pilot, app)
        await pilot.press("space", "enter")
        assert chat.asked == []


@pytest.mark.parametrize("key", ["shift+enter", "alt+enter", "ctrl+j", "shift+\r"])
async def test_keys_for_a_new_line(key: str) -> None:
    app, chat = app_of(FakeReply(steps_of("yes")))
    async with app.run_test() as pilot:
        await ready(pilot, app)
        await pilot.press("a", key, "b")
        assert screen_of(app).prompt.text == "a\nb"
        await pilot.press("enter")
        await wait_until(pilot, lambda: chat.kept)
        assert chat.asked == ["a\nb"]


def test_alt_and_enter_is_no_enter_where_terminals_have_no_keyboard_protocol() -> None:
    from textual._xterm_parser import XTermParser

    assert [event.key for event in XTermParser().feed("\x1b\r")] == ["ctrl+j"]  # type: ignore[attr-defined]


async def test_the_input_grows_to_eight_lines() -> None:
    app, _ = app_of()
    async with app.run_test(size=WIDE) as pilot:
        await ready(pilot, app)
        prompt = screen_of(app).prompt
        assert prompt.size.height == 1
        for lines in range(2, 12):
            await pilot.press("ctrl+j")
            assert prompt.size.height == min(lines, 8)


async def test_pasted_control_characters_become_visible() -> None:
    from textual.events import Paste

    app, _ = app_of()
    async with app.run_test() as pilot:
        await ready(pilot, app)
        prompt = screen_of(app).prompt
        prompt.post_message(Paste("a\x1b[31mb\r\nc\rd\u202e"))
        await pilot.pause()
        assert prompt.text == "a␛[31mb\nc\nd�"


# While a reply is written


async def test_the_input_works_while_a_reply_is_written_and_sending_is_refused() -> None:
    reply = FakeReply(steps_of("one two three four"), hold_at=2)
    app, chat = app_of(reply)
    async with app.run_test(size=WIDE) as pilot:
        await ready(pilot, app)
        await say(pilot, app, "Why?")
        await wait_until(pilot, lambda: "one two" in texts(app)[-1])
        await pilot.press(*"Next", "enter")
        await pilot.pause()
        assert chat.asked == ["Why?"]
        assert screen_of(app).prompt.text == "Next"
        assert len(app._notifications) == 1
        reply.gate.set()
        await ready(pilot, app)
        assert texts(app)[-1].startswith("one two three four\n")
        assert screen_of(app).prompt.text == "Next"


async def test_escape_stops_the_reply_and_keeps_what_was_said() -> None:
    app, chat = app_of(FakeReply(steps_of("one two three four"), hold_at=2))
    async with app.run_test() as pilot:
        await ready(pilot, app)
        await say(pilot, app, "Why?")
        await wait_until(pilot, lambda: "one two" in texts(app)[-1])
        await pilot.press("escape")
        await ready(pilot, app)
        assert chat.kept == ["one two "]
        assert texts(app)[-1].startswith("one two \nstopped · 2 tokens")
        assert app.is_running


async def test_escape_never_quits() -> None:
    app, _ = app_of()
    async with app.run_test() as pilot:
        await ready(pilot, app)
        await pilot.press("tab", "escape", "escape", "escape")
        assert app.is_running
        assert screen_of(app).prompt.has_focus


async def test_a_reply_stopped_before_its_first_word_can_be_asked_for_again() -> None:
    app, chat = app_of(FakeReply(steps_of("never"), hold_at=0), FakeReply(steps_of("at last")))
    async with app.run_test() as pilot:
        await ready(pilot, app)
        await say(pilot, app, "Why?")
        await pilot.press("escape")
        await ready(pilot, app)
        assert texts(app) == ["Why?", "(stopped before the first word; Ctrl+R asks again)"]
        await pilot.press("ctrl+r")
        await wait_until(pilot, lambda: chat.kept)
        await ready(pilot, app)
        assert len(texts(app)) == 2
        assert texts(app)[1].startswith("at last\n")


async def test_no_token_is_lost_however_fast_they_come() -> None:
    """Thousands of steps between two looks, a character cut in two, and a tail that no step released."""
    words = [f"w{i} " for i in range(5000)]
    steps = [step(i, word, list(Source)[i % 4]) for i, word in enumerate(words)]
    bat = "\N{BAT}".encode()
    steps += [step(5000, "", Source.GUIDE, data=bat[:2]), step(5001, "\N{BAT}", Source.BASE, data=bat[2:])]
    app, chat = app_of(FakeReply(steps, tail=" held back\nQuest"))
    async with app.run_test(size=WIDE) as pilot:
        await ask(pilot, app)
        said = "".join(words) + "\N{BAT} held back\nQuest"
        assert chat.kept == [said]
        body = texts(app)[-1]
        assert body[: len(said)] == said
        entry = screen_of(app).transcript.last_reply
        assert entry is not None
        wrapped = " ".join(entry.body.text[start:end].strip() for start, end in entry.body.lines)
        assert wrapped.split() == body.split()


async def test_steps_are_taken_in_batches() -> None:
    """However many steps come, the transcript is written to once a look."""
    app, _ = app_of(FakeReply(steps_of("word " * 2000)))
    async with app.run_test() as pilot:
        await ready(pilot, app)
        writes = 0
        transcript = screen_of(app).transcript
        write = transcript.write

        def counted(*args: object, **options: object) -> None:
            nonlocal writes
            writes += 1
            write(*args, **options)  # type: ignore[arg-type]

        transcript.write = counted  # type: ignore[method-assign, assignment]
        await say(pilot, app, "Why?")
        await pilot.pause()
        await ready(pilot, app)
        assert writes < 100


# Scrolling


async def test_the_view_follows_the_reply_only_near_its_end() -> None:
    reply = FakeReply(steps_of(" ".join(["line\n"] * 400)), hold_at=200)
    app, _ = app_of(reply)
    async with app.run_test() as pilot:
        await ready(pilot, app)
        await say(pilot, app, "Why?")
        transcript = screen_of(app).transcript
        await wait_until(pilot, lambda: transcript.virtual_size.height > 200)
        assert transcript.following
        await pilot.press("pageup")
        await pilot.pause()
        place = transcript.scroll_offset.y
        assert not transcript.following
        reply.gate.set()
        await ready(pilot, app)
        assert transcript.scroll_offset.y == place
        await pilot.press(*["pagedown"] * 40)
        await pilot.pause()
        assert transcript.following


async def test_the_conversation_is_wrapped_anew_at_another_width() -> None:
    app, _ = app_of(FakeReply(steps_of("word " * 100)))
    async with app.run_test(size=WIDE) as pilot:
        await ask(pilot, app)
        transcript = screen_of(app).transcript
        before = transcript.virtual_size.height
        await pilot.resize_terminal(60, 24)
        await pilot.pause()
        assert transcript.virtual_size.height > before
        assert max(len(line) for line in visible(app).splitlines()) <= 60
        await pilot.resize_terminal(*WIDE)
        await pilot.pause()
        assert transcript.virtual_size.height == before


async def test_selected_text_is_copied_without_the_breaks_of_the_view() -> None:
    app, _ = app_of(FakeReply(steps_of("word " * 40)))
    async with app.run_test(size=NARROW) as pilot:
        await ask(pilot, app)
        transcript = screen_of(app).transcript
        transcript.text_select_all()
        await pilot.pause()
        copied = app.screen.get_selected_text()
        assert copied is not None
        assert copied.startswith("Why?\n\nword word")
        assert len(re.findall("\n", copied)) == 3
        await pilot.mouse_down(transcript, offset=(3, 3))
        await pilot.hover(transcript, offset=(11, 3))
        await pilot.mouse_up(transcript, offset=(11, 3))
        assert app.screen.get_selected_text() == "word word"[: len(app.screen.get_selected_text() or "")]


# Again, new, panel, help


async def test_again_replaces_the_last_reply() -> None:
    app, chat = app_of(FakeReply(steps_of("first")), FakeReply(steps_of("second")))
    async with app.run_test() as pilot:
        await ask(pilot, app)
        await pilot.press("ctrl+r")
        await wait_until(pilot, lambda: len(chat.kept) == 2)
        await ready(pilot, app)
        assert chat.asked == ["Why?", "(again)"]
        assert len(texts(app)) == 2
        assert texts(app)[1].startswith("second\n")


@pytest.mark.parametrize("second", [FakeReply(steps_of("x"), hold_at=0), PromptError("It is too long.")])
async def test_a_reply_stays_where_another_one_comes_to_nothing(second: FakeReply | Exception) -> None:
    app, _ = app_of(FakeReply(steps_of("first")), second)
    async with app.run_test() as pilot:
        await ask(pilot, app)
        await pilot.press("ctrl+r", "escape")
        await ready(pilot, app)
        assert [text.split("\n")[0] for text in texts(app, Kind.REPLY)] == ["first"]
        assert screen_of(app).transcript.virtual_size.height == sum(
            entry.height for entry in screen_of(app).transcript.entries
        )


async def test_again_without_a_reply_and_under_greedy_sampling_say_so() -> None:
    app, _ = app_of(FakeReply(steps_of("x")), FakeReply(steps_of("x")), temperature=0)
    async with app.run_test() as pilot:
        await ready(pilot, app)
        await pilot.press("ctrl+r")
        assert "no reply yet" in next(iter(app._notifications)).message
        await ask(pilot, app)
        await pilot.press("ctrl+r")
        assert "temperature is 0" in next(iter(app._notifications)).message
        await ready(pilot, app)


async def test_a_new_conversation_takes_two_presses() -> None:
    app, chat = app_of(FakeReply(steps_of("first")))
    async with app.run_test() as pilot:
        await ask(pilot, app)
        assert not app.screen.query_one(Welcome).display
        await pilot.press("ctrl+n")
        assert chat.restarts == 0
        assert len(texts(app)) == 2
        await pilot.press("ctrl+n")
        await wait_until(pilot, lambda: chat.restarts == 1)
        assert texts(app) == []
        assert app.screen.query_one(Welcome).display


@pytest.mark.parametrize("key", ["ctrl+r", "ctrl+n"])
async def test_keys_that_need_the_reply_to_be_over_are_refused(key: str) -> None:
    app, chat = app_of(FakeReply(steps_of("one two"), hold_at=1))
    async with app.run_test() as pilot:
        await ready(pilot, app)
        await say(pilot, app, "Why?")
        await wait_until(pilot, lambda: "one" in texts(app)[-1])
        await pilot.press(key, key)
        assert chat.asked == ["Why?"]
        assert chat.restarts == 0
        await pilot.press("escape")
        await ready(pilot, app)


@pytest.mark.parametrize(("size", "at_first"), [(WIDE, True), ((99, 30), False), (NARROW, False)])
async def test_the_panel_folds_away_and_is_toggled(size: tuple[int, int], at_first: bool) -> None:
    app, _ = app_of()
    async with app.run_test(size=size) as pilot:
        await ready(pilot, app)
        panel = app.screen.query_one(Panel)
        assert panel.display is at_first
        await pilot.press("f2")
        assert panel.display is not at_first
        await pilot.press("f2")
        assert panel.display is at_first


async def test_help_lists_keys_and_figures_and_closes() -> None:
    app, _ = app_of()
    async with app.run_test(size=WIDE) as pilot:
        await ready(pilot, app)
        await pilot.press("f1")
        assert isinstance(app.screen, HelpScreen)
        said = [shown(static) for static in app.screen.query(Static)]
        assert {*KEYS, *FIGURES} <= set(said)
        await pilot.press("escape")
        assert app.screen is screen_of(app)


async def test_the_footer_shows_six_keys_and_the_palette_has_the_rest() -> None:
    app, _ = app_of()
    async with app.run_test(size=NARROW) as pilot:
        await ready(pilot, app)
        footer = app.screen.query_one(Footer)
        assert [key.description for key in footer.query(FooterKey)] == [
            "Stop", "Again", "New", "Panel", "Help", "Quit",
        ]  # fmt: skip
        assert footer.max_scroll_x == 0
        titles = [command.title for command in app.get_system_commands(app.screen)]
        assert {"Theme", "Quit", "Stop", "Again", "New", "Panel", "Help"} <= set(titles)


# Loading and failing


async def test_the_load_is_shown_and_a_message_waits_for_it() -> None:
    chat = FakeChat(FakeReply(steps_of("here I am")))
    load = FakeLoad(chat, held=True)
    app = make_app(load, ABOUT)
    async with app.run_test() as pilot:
        bar = app.screen.query_one(LoadingBar)
        await wait_until(pilot, lambda: "50%" in shown(bar))
        assert "Loading the base" in shown(bar)
        assert ABOUT.memory in shown(bar)
        await say(pilot, app, "Anybody?")
        await pilot.pause()
        assert texts(app) == ["Anybody?"]
        assert "waits for the models" in visible(app)
        await say(pilot, app, "Hello?")
        await pilot.pause()
        assert screen_of(app).prompt.text == "Hello?"
        load.finish.set()
        await wait_until(pilot, lambda: chat.kept)
        await ready(pilot, app)
        assert chat.asked == ["Anybody?"]
        assert texts(app)[1].startswith("here I am\n")
        assert not bar.display


async def test_a_waiting_message_can_be_taken_back() -> None:
    load = FakeLoad(FakeChat(), held=True)
    app = make_app(load, ABOUT)
    async with app.run_test() as pilot:
        await say(pilot, app, "Anybody?")
        await pilot.press(*"Well", "escape")
        assert texts(app) == []
        assert screen_of(app).prompt.text == "Anybody?\nWell"
        load.finish.set()
        await ready(pilot, app)


async def test_a_failed_load_says_why_and_the_app_goes_on() -> None:
    reason = "llama.cpp cannot load /models/[red]x.gguf: tensor data is not within the file bounds."
    load = FakeLoad(FakeChat(), held=True, error=ModelError(reason))
    app = make_app(load, ABOUT)
    async with app.run_test(size=WIDE) as pilot:
        await say(pilot, app, "Anybody?")
        load.finish.set()
        await wait_until(pilot, lambda: screen_of(app).phase is Phase.FAILED)
        assert texts(app) == [reason]
        assert screen_of(app).prompt.text == "Anybody?"
        await pilot.press("enter", "escape", "ctrl+r", "ctrl+n", "f2", "f1", "escape")
        assert screen_of(app).prompt.text == "Anybody?"
        await pilot.press("ctrl+q")
    assert app.return_code == 0


async def test_a_memory_warning_is_shown() -> None:
    app = make_app(FakeLoad(FakeChat(), held=True), About("a", "b", warning="Memory will not suffice."))
    async with app.run_test():
        assert "Memory will not suffice." in visible(app)


async def test_a_model_that_fails_keeps_what_was_said_and_frees_the_input() -> None:
    failing = FakeReply(steps_of("one two"), error=ModelError("llama.cpp failed to decode: [b]no[/b]."))
    app, chat = app_of(failing, FakeReply(steps_of("better")))
    async with app.run_test(size=WIDE) as pilot:
        await ask(pilot, app)
        assert chat.kept == ["one two"]
        assert texts(app, Kind.ERROR) == ["llama.cpp failed to decode: [b]no[/b]."]
        await ask(pilot, app, "And now?")
        assert texts(app)[-1].startswith("better\n")


async def test_a_message_that_is_refused_comes_back_into_the_input() -> None:
    app, _ = app_of(PromptError("The prompt is too long: 9000 tokens."), FakeReply(steps_of("short")))
    async with app.run_test(size=WIDE) as pilot:
        await ask(pilot, app, "a very long message")
        assert texts(app) == ["The prompt is too long: 9000 tokens."]
        assert screen_of(app).prompt.text == "a very long message"
        await pilot.press("enter")
        await pilot.pause()
        await ready(pilot, app)
        assert texts(app)[-1].startswith("short\n")


async def test_a_defect_is_told_like_an_error() -> None:
    app, _ = app_of(FakeReply(steps_of("one"), error=ZeroDivisionError("division by zero")))
    async with app.run_test(size=WIDE) as pilot:
        await ask(pilot, app)
        assert texts(app, Kind.ERROR) == [
            "Something went wrong inside blendin (ZeroDivisionError: division by zero)."
        ]


@pytest.mark.parametrize(("dropped", "said"), [(1, "1 old message)"), (4, "4 old messages)")])
async def test_dropped_messages_are_told(dropped: int, said: str) -> None:
    app, _ = app_of(FakeReply(steps_of("one"), dropped=dropped))
    async with app.run_test(size=WIDE) as pilot:
        await ask(pilot, app)
        assert texts(app)[-1].startswith(f"(left out, because the context is full: {said}\none\n")


# Quitting


async def test_quitting_while_a_reply_is_written_stops_it_and_frees_the_models() -> None:
    app, chat = app_of(FakeReply(steps_of("one two three"), hold_at=2))
    async with app.run_test() as pilot:
        await ready(pilot, app)
        await say(pilot, app, "Why?")
        await wait_until(pilot, lambda: "one two" in texts(app)[-1])
        await pilot.press("ctrl+q")
    assert chat.closed.is_set()
    assert app.models.join(0)
    assert app.return_code == 0


async def test_quitting_while_the_models_load_stops_the_load() -> None:
    load = FakeLoad(FakeChat(), held=True)
    app = make_app(load, ABOUT)
    async with app.run_test() as pilot:
        await pilot.press("ctrl+q")
    assert load.cancelled
    assert app.models.join(0)
    assert app.return_code == 0


async def test_quitting_with_help_open() -> None:
    app, chat = app_of()
    async with app.run_test() as pilot:
        await ready(pilot, app)
        await pilot.press("f1", "ctrl+q")
    assert chat.closed.is_set()


# Figures


async def test_the_panel_shows_the_figures_of_the_reply() -> None:
    app, _ = app_of(FakeReply(steps_of("one two three four five six seven")))
    async with app.run_test(size=WIDE) as pilot:
        await ask(pilot, app)
        said = visible(app)
        figures = "Confidence|not calibrated|0.30|0.46|0.50|0.55|43%|14%|29%|40.0|0.25 s|412/4096|3800/4096"
        for figure in figures.split("|"):
            assert figure in said, figure


async def test_only_a_calibrated_pair_has_reliability() -> None:
    app, _ = app_of(FakeReply(steps_of("one")), calibrated=True)
    async with app.run_test(size=WIDE) as pilot:
        await ask(pilot, app)
        assert "Reliability" in visible(app)
        assert "not calibrated" not in visible(app)


# Hostile text

HOSTILE = (
    "\x1b]0;title\x07\x1b[2J\x1b[31m[bold]x[/bold][link=file:///]y[/] \u202eevil\u2066 \x9b1m\x00\x08\r\t."
)


async def test_hostile_text_is_shown_as_it_is_and_does_nothing() -> None:
    about = About(base=HOSTILE, guide=HOSTILE, pair=HOSTILE, memory="[red]memory[/red]")
    app, chat = app_of(FakeReply([step(0, HOSTILE), step(1, HOSTILE, Source.GUIDE)]), ModelError(HOSTILE),
                       about=about)  # fmt: skip
    async with app.run_test(size=WIDE) as pilot:
        await ready(pilot, app)
        assert_inert(visible(app))
        await ask(pilot, app, HOSTILE)
        await ask(pilot, app, "again")
        said = visible(app)
        assert_inert(said)
        assert "␛[31m[bold]x[/bold][link=file:///]y[/] �evil� �1m␀␈" in said
        # The models get the message as it was written.
        assert chat.asked[0] == HOSTILE.replace("\r", "\n")


def assert_inert(said: str) -> None:
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", said)


# Looks


async def test_sources_differ_without_colour() -> None:
    app, _ = app_of()
    async with app.run_test():
        transcript = app.screen.query_one(Transcript)
        looks = {
            (style.bold, style.underline)
            for style in (
                transcript.get_component_rich_style(f"transcript--{source}")
                for source in ("base", "guide", "both", "blend")
            )
        }
        assert len(looks) == 4


async def test_sources_are_readable_in_every_theme() -> None:
    app, _ = app_of(FakeReply(steps_of("x")))
    async with app.run_test() as pilot:
        await ask(pilot, app)
        transcript = app.screen.query_one(Transcript)
        for theme in app.available_themes.values():
            if theme.ansi:
                continue
            app.theme = theme.name
            await pilot.pause()
            for source in ("base", "guide", "both", "blend"):
                style = transcript.get_component_styles(f"transcript--{source}")
                contrast = _contrast(style.color, transcript.background_colors[1])
                assert contrast >= 4.5, (theme.name, source, contrast)


def _contrast(one: Color, other: Color) -> float:
    """As WCAG defines it."""

    def luminance(color: Color) -> float:
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in color.normalized]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    bright, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


# The real engine


async def test_a_conversation_with_two_tiny_models(tmp_path: Path) -> None:
    """Through llama.cpp, with different vocabularies: send, again, stop, go on, run out of context, quit."""
    options = ModelOptions(n_ctx=256, n_threads=1)
    loaded: list[PairChat] = []

    def load(progress: Progress) -> PairChat:
        base = open_model(
            write_tiny(tmp_path / "base.gguf"), options, progress=lambda share: progress("base", share)
        )
        guide = open_model(
            write_tiny(tmp_path / "guide.gguf", vocabulary="bpe"),
            options,
            progress=lambda share: progress("guide", share),
        )
        plain = PLAIN_FORMATS["user-assistant"]
        settings = GenerationSettings(sampling=SamplingSettings(temperature=1.0), max_tokens=40)
        loaded.append(PairChat(Conversation(pair_models(base, guide), plain, plain, settings)))
        return loaded[0]

    app = make_app(load, ABOUT)
    async with app.run_test(size=WIDE) as pilot:
        for turn in range(8):
            await ask(pilot, app, "hello world " * (turn + 1))
        assert texts(app, Kind.ERROR) == []
        assert any("old message" in text for text in texts(app, Kind.REPLY))
        fills = loaded[0].fills()
        assert 0 < fills["base"].used <= fills["base"].size == 256
        await pilot.press("ctrl+r", "escape")
        await ready(pilot, app)
        await say(pilot, app, "long " * 400)
        await pilot.pause()
        await ready(pilot, app)
        assert "too long" in texts(app, Kind.ERROR)[0]
        await pilot.press("ctrl+q")
    assert app.return_code == 0
    assert app.models.join(0)
