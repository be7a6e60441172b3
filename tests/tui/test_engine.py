"""Tests of the chat through llama.cpp, with two tiny models and a database."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from support.chat_fakes import (
    ask,
    feet,
    press,
    ready,
    screen_of,
    texts,
    wait_until,
)
from support.tiny_gguf import write_tiny

from blendin_local.engine.steps import Source
from blendin_local.formats import Formats
from blendin_local.history.store import Store
from blendin_local.history.tree import Setup
from blendin_local.models.catalogue import load_catalogue
from blendin_local.models.entries import PairEntry
from blendin_local.models.loading import locate_pair
from blendin_local.preferences.preferences import ChatPreferences, Preferences
from blendin_local.settings import BlendSettings, GenerationSettings, ModelOptions, SamplingSettings
from blendin_local.tui.app import ChatApp
from blendin_local.tui.chat.session import ChatSession
from blendin_local.tui.entry import Kind
from blendin_local.tui.loading import Prepared, about_pair, pair_loader


async def test_a_conversation_through_llama_cpp_with_two_tiny_models(tmp_path: Path) -> None:
    """Every kind of request, with different vocabularies, saved to a file."""
    base = write_tiny(tmp_path / "base.gguf")
    guide = write_tiny(tmp_path / "guide.gguf", vocabulary="bpe")
    files = locate_pair(load_catalogue(), PairEntry(name="", base=str(base), guide=str(guide)))
    options = ModelOptions(n_ctx=256, n_threads=1)
    settings = GenerationSettings(
        BlendSettings(guide_stop=False), SamplingSettings(temperature=1.0), max_tokens=20
    )
    formats = Formats("user-assistant", "user-assistant")
    setup = Setup(str(base), str(guide), settings=settings, formats=formats)
    prepared = Prepared(about_pair(files, options, setup), setup, pair_loader(files, options, setup))
    with closing(Store(tmp_path / "chats.db")) as seen:
        quick = Preferences(ChatPreferences(looks_per_second=60))
        app = ChatApp(
            ChatSession(prepared, lambda *names: prepared, preferences=quick, store=Store(seen.path))
        )
        async with app.run_test(size=(120, 40)) as pilot:
            await ready(pilot, app)
            await ask(pilot, app, "hello world")
            first = app.session.dialogue.last
            assert first is not None
            assert first.models == {"base": files.base.fingerprint, "guide": files.guide.fingerprint}
            assert first.finish_reason == "length"
            text, count = first.text, len(first.steps)

            # Continue in place, from the tokens of the reply.
            await press(pilot, app, "tab", "c")
            assert app.session.dialogue.last is first
            assert first.text.startswith(text)
            assert len(first.steps) > count

            # Branch at the third token by number: the reply has the candidate that the inspector offered.
            await pilot.press("up", "right", "right", "right", "enter")
            candidates = first.steps[2].candidates
            assert candidates is not None
            place = next(
                i for i, each in enumerate(candidates.base)
                if each.outcome >= 0 and each.data and each.outcome != first.steps[2].outcome
            )  # fmt: skip
            screen_of(app).inspector.table._wanted = "base"
            await press(pilot, app, str(place + 1))
            branch = app.session.dialogue.last
            assert branch is not None
            assert branch is not first
            assert (branch.forked_from, branch.fork) == (first.id, 2)
            assert [each.outcome for each in branch.steps[:2]] == [each.outcome for each in first.steps[:2]]
            assert branch.steps[2].data == candidates.base[place].data
            assert branch.steps[2].source is Source.USER

            # Regenerate, compare, send too long a message, and fill the context.
            await press(pilot, app, "escape", "escape", "ctrl+r", "escape")
            screen_of(app).prompt.insert("hello")
            await pilot.press("f5")
            methods = app.session.preferences.compare.methods
            await wait_until(pilot, lambda: len(screen_of(app).comparison._answers) == len(methods), 60)
            await ready(pilot, app)
            await pilot.press("1")
            await wait_until(pilot, lambda: len(app.screen_stack) == 1)
            assert app.session.dialogue.setup.settings.blend.method == methods[0]
            await ask(pilot, app, "long " * 400)
            assert "too long" in texts(app, Kind.ERROR)[0]
            screen_of(app).prompt.clear()
            for turn in range(5):
                await ask(pilot, app, "hello world " * (turn + 1))
            assert texts(app, Kind.ERROR) == []
            assert "left out" in feet(app)[-1]
            context_use = app.session.backend.context_use()  # type: ignore[union-attr]
            assert 0 < context_use["base"].used <= context_use["base"].size == 256
            path = [turn.text for turn in app.session.dialogue.tree.path()]
            await pilot.press("ctrl+q")
        assert app.return_code == 0
        assert app.session.worker.join(0)
        kept = seen.open(app.session.dialogue.id)
        assert [turn.text for turn in kept.tree.path()] == path
        for turn in kept.tree.turns.values():
            assert seen.load_steps(turn.id) == app.session.dialogue.tree.turns[turn.id].steps
