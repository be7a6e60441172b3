"""Write the table of commands of docs/chat.md (`make docs`); a test fails if it is stale."""

from __future__ import annotations

from pathlib import Path

from make_config import MARKED

from blendin_local.tui.commands import SPECS

PAGE = Path(__file__).with_name("chat.md")


def page() -> str:
    """The page's text."""
    rows = [f"| `{spec.usage.replace('|', ' or ')}` | {spec.help} |" for spec in SPECS]
    table = "\n".join(["", "| command | what it does |", "| --- | --- |", *rows, ""])
    return MARKED.sub(lambda marks: f"{marks[1]}{table}\n{marks[2]}", PAGE.read_text("utf-8"))


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
