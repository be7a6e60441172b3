"""Write the tables of docs/config.md from the declarations (`make docs`); a test fails if they are stale."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from blendin_local.preferences.preferences import KEYS, SECTIONS
from blendin_local.preferences.writer import as_toml

PAGE = Path(__file__).with_name("config.md")
MARKED = re.compile(r"(<!-- Between .*? -->\n).*?(<!-- end -->)", re.DOTALL)


def page() -> str:
    """The page's text."""
    tables = "\n".join(_tables())
    return MARKED.sub(lambda marks: f"{marks[1]}{tables}\n{marks[2]}", PAGE.read_text("utf-8"))


def _tables() -> Iterator[str]:
    for section, about in SECTIONS.items():
        keys = [key for key in KEYS.values() if key.section == section]
        if not keys:
            continue
        yield from (
            "",
            f"### [{section}]",
            "",
            about,
            "",
            "| key | default | what it does |",
            "| --- | --- | --- |",
        )
        for key in keys:
            default = key.unset if key.default is None else f"`{as_toml(key.default)}`"
            variable = f" `{key.spec.variable}` overrides it." if key.spec.variable else ""
            yield f"| `{key.name}` | {default} | {key.about}{variable} |"
    yield ""


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
