"""Write the table of methods of docs/method.md from `METHODS` (`make docs`); a test fails if it is stale."""

from __future__ import annotations

from pathlib import Path

from make_config import MARKED

from blendin_local.methods import METHODS, Method
from blendin_local.setting_spec import settings_of
from blendin_local.settings import BlendSettings

PAGE = Path(__file__).with_name("method.md")
_TRIGGERS = {"never": "never", "uncertain": "`c_b < γ`", "always": "always"}


def page() -> str:
    """The page's text."""
    rows = [
        f"| `{name}` | {_trigger(method)} | {_alpha(method)} | {method.summary} |"
        for name, method in METHODS.items()
    ]
    table = "\n".join(["", "| method | trigger | α | in words |", "| --- | --- | --- | --- |", *rows, ""])
    return MARKED.sub(lambda marks: f"{marks[1]}{table}\n{marks[2]}", PAGE.read_text("utf-8"))


def _trigger(method: Method) -> str:
    alone = "; the guide writes alone" if method.writer == "guide" else ""
    return _TRIGGERS[method.trigger] + alone


def _alpha(method: Method) -> str:
    specs = settings_of(BlendSettings)
    owned = [f"`{specs[name].symbol}` = `{specs[name].option}`" for name in method.parameters]
    return "; ".join([f"`{method.formula}`", *owned])


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
