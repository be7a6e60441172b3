"""Test one worker without Ray: its share of the memory, its formats, its count of unfinished tokens."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from support.batch_files import EXACT, formats_of, row_of, run_of, tiny_files

from blendin_local.batch.planning import parallel_options
from blendin_local.batch.ray_worker import Worker, WorkerSetup
from blendin_local.engine.prompts import PromptFormat
from blendin_local.models import memory_estimate
from blendin_local.models.loading import PairFiles
from blendin_local.settings import GenerationSettings

pytest.importorskip("ray")

SETTINGS = GenerationSettings(max_tokens=4)


@pytest.fixture
def files(tmp_path: Path) -> PairFiles:
    return tiny_files(tmp_path)


class IdleWorker(Worker):
    """Load the pair, close it again, and decode nothing."""

    def _decode(self, scheduler: object) -> None:
        pass

    def _open(self, files: PairFiles, parallel: int) -> object:  # type: ignore[override]
        scheduler = super()._open(files, parallel)
        self.n_seq = scheduler._pair.base.n_seq
        scheduler._pair.close()
        return scheduler


@pytest.mark.parametrize("pairs", [1, 3])
@pytest.mark.parametrize("room", [1, 3, 4])
def test_rows_at_once_fit_its_share_of_the_memory(
    files: PairFiles, monkeypatch: pytest.MonkeyPatch, room: int, pairs: int
) -> None:
    headers = files.base, files.guide
    needs = [
        sum(memory_estimate.estimate(header, parallel_options(EXACT, rows)).total for header in headers)
        for rows in (room, room + 1)
    ]
    monkeypatch.setattr(memory_estimate, "free_memory", lambda: pairs * sum(needs) // 2)
    setup = WorkerSetup(files.entry, formats_of(files), EXACT, run_of(files, SETTINGS), 4)
    worker = IdleWorker(setup)
    assert worker.load(pairs)[1] == room
    assert worker.n_seq == room


def test_prompt_formats_come_from_the_driver(files: PairFiles) -> None:
    """A template file may exist on the driver alone."""
    formats = formats_of(files) | {"base": PromptFormat("mine.jinja", "{{ messages[-1].content }} is")}
    setup = WorkerSetup(files.entry, formats, EXACT, run_of(files, SETTINGS), 1)
    scheduler = Worker(setup)._open(files, 1)
    try:
        (result,) = scheduler.answer([row_of("a", "the", SETTINGS)])
    finally:
        scheduler._pair.close()
    assert result["usage"]["base"]["prompt_tokens"] < result["usage"]["guide"]["prompt_tokens"]


class HeldScheduler:
    """Give one result, and never come to the end of that round."""

    active = 0
    unfinished_tokens = 7

    def answer(self, rows: object) -> Iterator[dict[str, int]]:
        self.unfinished_tokens = 0
        yield {"index": 0}
        Event().wait()


def test_tokens_of_a_result_no_longer_count_as_unfinished(files: PairFiles) -> None:
    """They did when the result was fetched before the round had ended."""
    scheduler: Any = HeldScheduler()
    worker = Worker(WorkerSetup(files.entry, formats_of(files), EXACT, run_of(files, SETTINGS), 1))
    worker._count_tokens(scheduler)
    assert worker.exchange([]) == ([], 7)
    Thread(target=worker._decode, args=[scheduler], daemon=True).start()
    assert worker.exchange([]) == ([{"index": 0}], 0)
