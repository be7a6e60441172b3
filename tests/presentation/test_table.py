"""Tables of both reports: well formed as Markdown, and never wider than the terminal."""

from __future__ import annotations

import re
from typing import Any

import pytest
from rich.cells import cell_len
from support.html_pages import hostile
from support.reports import markdown_tables, printed
from support.result_documents import (
    COMPARE_DOCUMENTS,
    TUNE_DOCUMENTS,
    answers,
    compare_document,
    compare_report,
    tune_document,
    tune_report,
)

from blendin_local.compare.report_csv import compare_csv
from blendin_local.compare.report_page import compare_page
from blendin_local.compare.report_text import compare_markdown
from blendin_local.tune.report_page import tune_page
from blendin_local.tune.report_text import tune_markdown


@pytest.mark.parametrize("make", [*TUNE_DOCUMENTS.values(), *COMPARE_DOCUMENTS.values()])
@pytest.mark.parametrize("evil", [False, True])
def test_markdown_tables_are_well_formed(make: Any, evil: bool) -> None:
    document = hostile(make()) if evil else make()
    text = (
        tune_markdown(tune_report(document))
        if "settings" in document
        else compare_markdown(compare_report(document))
    )
    for table in markdown_tables(text):
        assert len({len(row) for row in table}) == 1
        assert all(re.fullmatch(r" (:---|---:) ", cell) for cell in table[1])
        assert len(table) > 2
    assert not re.search(r"(?<!\\)<", text)
    assert "\x1b" not in text
    assert text.endswith("\n") and not text.endswith("\n\n")
    assert "None" not in text


@pytest.mark.parametrize("width", [80, 140])
@pytest.mark.parametrize("make", [*TUNE_DOCUMENTS.values(), *COMPARE_DOCUMENTS.values()])
@pytest.mark.parametrize("evil", [False, True])
def test_what_is_printed_fits(make: Any, width: int, evil: bool) -> None:
    text = printed(hostile(make()) if evil else make(), width)
    assert text.strip()
    for line in text.splitlines():
        assert cell_len(line.rstrip()) <= width, line
    assert "\x1b" not in text
    assert "None" not in text


def test_colours_only_where_they_are_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[" in printed(tune_document(), 80, color=True)
    monkeypatch.setenv("NO_COLOR", "1")
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]", printed(tune_document(), 80, color=True))
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]", printed(compare_document(), 80, color=True))


def test_reports_are_only_read() -> None:
    tuned = tune_report(tune_document())
    for output in (tune_page, tune_markdown):
        output(tuned)
    assert tuned == tune_report(tune_document())
    compared = compare_report(compare_document(), answers())
    for write in (compare_page, compare_markdown, compare_csv):
        write(compared)
    assert compared == compare_report(compare_document(), answers())
