"""Tests of a loaded pair as the chat's backend."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support.tiny_gguf import write_tiny

from blendin_local.engine.chat_backend import PairBackend, ReplyRequest
from blendin_local.engine.pair import LoadProgress, Pair, pair_models
from blendin_local.engine.prompts import PLAIN_FORMATS, Message
from blendin_local.engine.steps import Source, Step
from blendin_local.errors import ModelError, PromptError
from blendin_local.formats import Formats
from blendin_local.history.tree import Setup
from blendin_local.llamacpp.model import open_model
from blendin_local.models.catalogue import load_catalogue
from blendin_local.models.entries import PairEntry
from blendin_local.models.loading import locate_pair
from blendin_local.settings import BlendSettings, GenerationSettings, ModelOptions
from blendin_local.tui.loading import about_pair, pair_loader


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    folder = tmp_path_factory.mktemp("tiny")
    options = ModelOptions(n_ctx=256, n_threads=1)
    base = open_model(write_tiny(folder / "base.gguf"), options)
    guide = open_model(write_tiny(folder / "guide.gguf", vocabulary="bpe"), options)
    return pair_models(base, guide)


def test_a_pair_writes_the_requested_reply(tiny: Pair) -> None:
    plain = PLAIN_FORMATS["user-assistant"]
    chat = PairBackend(tiny, {"base": plain, "guide": plain}, {"base": "b", "guide": "g"})
    assert (chat.calibrated, chat.models) == (False, {"base": "b", "guide": "g"})
    said = (Message("system", "Be kind."), Message("user", "hello"))
    settings = GenerationSettings(BlendSettings(guide_stop=False), seed=7, max_tokens=6)

    def written(request: ReplyRequest) -> list[Step]:
        reply = chat.write(request)
        steps = list(reply)
        assert reply.text == "".join(step.text for step in (*request.prefix, *steps))
        return steps

    whole = written(ReplyRequest(said, settings))
    repeated = written(ReplyRequest(said, settings, candidates=8))
    assert [each.outcome for each in repeated] == [each.outcome for each in whole]
    assert whole[0].candidates is not None
    assert written(ReplyRequest(said, settings, candidates=0))[0].candidates is None
    # Continued from its own steps, and branched at one of them.
    rest = written(ReplyRequest(said, replace(settings, max_tokens=3), prefix=tuple(whole[:3])))
    assert [step.index for step in rest] == [3, 4, 5]
    other = next(each for each in whole[2].candidates.base if each.outcome not in (-1, whole[2].outcome))  # type: ignore[union-attr]
    branch = ReplyRequest(said, settings, prefix=tuple(whole[:2]), forced_outcome=other.outcome)
    first = written(branch)[0]
    assert (first.outcome, first.source) == (other.outcome, Source.USER)
    context_use = chat.context_use()
    assert {role: fill.size for role, fill in context_use.items()} == {"base": 256, "guide": 256}
    assert context_use["base"].used > 0
    with pytest.raises(PromptError, match="too long"):
        chat.write(ReplyRequest((Message("user", "long " * 400),), settings))


def test_loading_real_files_reports_progress_and_can_be_stopped(tmp_path: Path) -> None:
    base, guide = write_tiny(tmp_path / "b.gguf"), write_tiny(tmp_path / "g.gguf", vocabulary="bpe")
    files = locate_pair(load_catalogue(), PairEntry(name="", base=str(base), guide=str(guide)))
    options, settings = ModelOptions(n_ctx=64), GenerationSettings()
    setup = Setup(str(base), str(guide), settings=settings, formats=Formats("raw", "raw"))
    about = about_pair(files, options, setup)
    assert (about.base, about.guide, about.pair) == ("b", "g", "")
    assert about.memory.startswith("Needs about")
    load = pair_loader(files, options, setup)
    seen: list[tuple[str, float]] = []

    def progress(role: str, share: float) -> bool:
        seen.append((role, share))
        return True

    load(progress).close()
    assert {role for role, _ in seen} == {"base", "guide"}
    refuse: LoadProgress = lambda role, share: role == "base"  # noqa: E731
    with pytest.raises(ModelError, match="cancelled"):
        load(refuse)
    with pytest.raises(PromptError, match="no chat template"):
        pair_loader(files, options, replace(setup, formats=Formats("chat", "auto")))
